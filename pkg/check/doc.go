// Package check holds the tests that keep the whole repository to its own
// rules; at present which package may import which.
package check
