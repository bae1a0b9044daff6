// Package call holds the calls of the daemon: what the commands of the ng
// protocol make, change, ask about and end.
//
// The words are: a call is everything under one Call-ID; a party is one side
// of it, known by its tag; a media is one m= line of a party with its local
// side, a pair of ports; a stream is one of the two ports. A command changes a
// call under its lock in four steps:
//
//	dialogue   which two parties are meant
//	negotiate  what each local side has to be (package negotiate, pure)
//	provision  get what is missing: ports, keys, credentials; may fail, is undone then
//	commit     agents and handshakes started, routes compiled, leftovers closed
//
// Who hears whom is a matter of subscriptions: an offer and its answer make one
// in each direction, the commands subscribe, publish, connect, mesh and inject
// make further ones. Blocks and silence hang on the call, a party or one
// subscription, and become filters of the routes' outputs.
//
// Packets never touch the lock; they follow the routes (package flow).
package call
