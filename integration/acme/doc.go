// Package acme examines the proxy's certificates against Pebble, Let's Encrypt's own ACME server for tests.
package acme
