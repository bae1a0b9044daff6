package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// A site is where a daemon and the generator run: network namespaces of their own, so that nothing else of the machine is touched.
type site struct {
	daemon     *harness.Namespace
	peers      [2]*harness.Namespace // of the first and the second legs; nil = with the daemon
	local      [2]string             // the daemon's addresses
	remote     [2]string             // the generator's
	namespaces []*harness.Namespace  // to be closed
}

// newLoopback makes one namespace with nothing but a loopback interface.
func newLoopback() (*site, error) {
	n, err := harness.NewNamespace(fmt.Sprintf("Bbench%d-lo", os.Getpid()))
	if err != nil {
		return nil, err
	}
	return &site{
		daemon: n, namespaces: []*harness.Namespace{n},
		local: [2]string{"127.0.0.1", "127.0.0.2"}, remote: [2]string{"127.0.0.3", "127.0.0.4"},
	}, nil
}

// newVeth makes three namespaces, client, daemon and server, with a pair of veth devices between each two.
func newVeth() (*site, error) {
	s := &site{local: [2]string{"10.71.1.1", "10.71.2.1"}, remote: [2]string{"10.71.1.2", "10.71.2.2"}}
	for _, name := range []string{"daemon", "client", "server"} {
		n, err := harness.NewNamespace(fmt.Sprintf("Bbench%d-%s", os.Getpid(), name))
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.namespaces = append(s.namespaces, n)
	}
	s.daemon, s.peers = s.namespaces[0], [2]*harness.Namespace(s.namespaces[1:])
	for leg, peer := range s.peers {
		inside := fmt.Sprintf("leg%d", leg)
		for _, err := range []error{
			s.daemon.IP("link", "add", inside, "type", "veth", "peer", "name", "eth0", "netns", peer.Name()),
			s.daemon.IP("addr", "add", s.local[leg]+"/24", "dev", inside),
			s.daemon.IP("link", "set", inside, "up"),
			peer.IP("addr", "add", s.remote[leg]+"/24", "dev", "eth0"),
			peer.IP("link", "set", "eth0", "up"),
		} {
			if err != nil {
				return nil, errors.Join(err, s.close())
			}
		}
	}
	return s, nil
}

func (s *site) close() error {
	var errs []error
	for _, n := range s.namespaces {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}
