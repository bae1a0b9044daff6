// Package trunk is the exam of trunks with Debian's Kamailio as the carrier: it asks for passwords at REGISTER, INVITE and
// BYE, sends calls to what was registered, and is one of two targets, of which the other is dead.
package trunk
