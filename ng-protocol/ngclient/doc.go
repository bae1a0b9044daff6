// Package ngclient calls media daemons over the ng control protocol: several
// nodes with weights, repetition of lost datagrams, one deadline per command,
// health by ping, a call's commands always to the call's node, and another node
// for a new call whose node fails or is full.
package ngclient
