// Package mission is the exam of what Tandem is for: browsers on a public network, each behind a NAT of its own, call the
// phones of an office that has a SIP server already. Proxy and media daemon stand on the border, with the files of
// deploy/mission; the SIP server is Debian's Kamailio with Debian's configuration and passwords.
package mission
