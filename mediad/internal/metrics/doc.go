// Package metrics gathers the numbers of the daemon and writes them in the four
// forms in which rtpengine shows them, under the same names: the ng command
// statistics, the CLI's jsonstats and totals, and Prometheus' text.
package metrics
