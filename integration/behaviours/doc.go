// Package behaviours is the exam of what newcomers to SIP get wrong: one named test for each of 52 behaviours and of ten
// faults of a published set-up, against the proxy and a media daemon as processes. Peers are scripts in Go.
package behaviours
