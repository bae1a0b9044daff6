// Package conformance examines daemons that serve the ng control protocol from
// outside: it plays scenarios (requests, expected replies, packets between the
// two parties) and compares what comes back, either with what the scenario says
// or with what another daemon does. See README.md for the format of scenarios.
package conformance
