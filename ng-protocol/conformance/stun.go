package conformance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pion/stun/v4"
)

// raw is an attribute that package stun has no type for (RFC 8445 §16.1).
type raw struct {
	kind  stun.AttrType
	value []byte
}

func (r raw) AddTo(m *stun.Message) error {
	m.Add(r.kind, r.value)
	return nil
}

// buildSTUN makes an ICE connectivity check (RFC 8445 §7.2.2) or the response
// to the last one received. Fields: class=request|success, role=controlling
// (default)|controlled, use-candidate=1, username=wrong|none, password=wrong,
// integrity=none, fingerprint=none.
func (p *party) buildSTUN(fields map[string]string) ([]byte, error) {
	for key := range fields {
		switch key {
		case "kind", "to", "class", "role", "use-candidate", "username", "password", "integrity", "fingerprint":
		default:
			return nil, fmt.Errorf("unknown field %q", key)
		}
	}
	if fields["class"] == "success" {
		return p.respond()
	}
	password := value(p.remote, "ice-pwd")
	if fields["password"] == "wrong" {
		password += "x"
	}
	m := stun.New()
	setters := []stun.Setter{stun.BindingRequest, stun.TransactionID}
	switch fields["username"] {
	case "":
		setters = append(setters, stun.NewUsername(value(p.remote, "ice-ufrag")+":"+value(p.own, "ice-ufrag")))
	case "wrong":
		setters = append(setters, stun.NewUsername("nobody:"+value(p.own, "ice-ufrag")))
	}
	role := stun.AttrICEControlling
	if fields["role"] == "controlled" {
		role = stun.AttrICEControlled
	}
	setters = append(setters, raw{stun.AttrPriority, []byte{110, 0, 30, 255}}, raw{role, []byte{255, 255, 255, 255, 0, 0, 0, 1}})
	if fields["use-candidate"] != "" {
		setters = append(setters, raw{stun.AttrUseCandidate, nil})
	}
	if fields["integrity"] == "" {
		setters = append(setters, stun.NewShortTermIntegrity(password))
	}
	if fields["fingerprint"] == "" {
		setters = append(setters, stun.Fingerprint)
	}
	err := m.Build(setters...)
	p.transaction = m.TransactionID
	return m.Raw, err
}

func (p *party) respond() ([]byte, error) {
	request := stun.New()
	if err := stun.Decode(p.check.data, request); err != nil {
		return nil, errors.New("the party has got no STUN request to answer")
	}
	m, err := stun.Build(stun.NewTransactionIDSetter(request.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: net.IP(p.check.from.Addr().AsSlice()), Port: int(p.check.from.Port())},
		stun.NewShortTermIntegrity(value(p.own, "ice-pwd")), stun.Fingerprint)
	if err != nil {
		return nil, err
	}
	return m.Raw, nil
}

// receiveSTUN waits for a message of a class (request, success, error; "" = any).
func (p *party) receiveSTUN(class string, limit time.Duration) (string, error) {
	for until := time.Now().Add(limit); ; {
		d, err := next(p.rtp.stun, time.Until(until))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "nothing", nil
		}
		if err != nil {
			return "", err
		}
		m := stun.New()
		if err := stun.Decode(d.data, m); err != nil {
			return fmt.Sprintf("other hex=%x", d.data), nil
		}
		if name := className(m.Type.Class); class == "" || class == name {
			return p.describeSTUN(d, m, name), nil
		}
	}
}

func className(c stun.MessageClass) string {
	switch c {
	case stun.ClassRequest:
		return "request"
	case stun.ClassSuccessResponse:
		return "success"
	case stun.ClassErrorResponse:
		return "error"
	}
	return "indication"
}

func (p *party) describeSTUN(d datagram, m *stun.Message, class string) string {
	text := []string{"stun class=" + class}
	verdict := func(name string, present, good bool) {
		word := "wrong"
		switch {
		case !present:
			word = "none"
		case good:
			word = "ok"
		}
		text = append(text, name+"="+word)
	}
	password := value(p.remote, "ice-pwd") // of who has been asked
	if class == "request" {
		p.check = d
		password = value(p.own, "ice-pwd")
		var user stun.Username
		present := user.GetFrom(m) == nil
		verdict("username", present, user.String() == value(p.own, "ice-ufrag")+":"+value(p.remote, "ice-ufrag"))
		role := "controlled"
		if m.Contains(stun.AttrICEControlling) {
			role = "controlling"
		}
		text = append(text, "role="+role)
	}
	verdict("integrity", m.Contains(stun.AttrMessageIntegrity), stun.NewShortTermIntegrity(password).Check(m) == nil)
	verdict("fingerprint", m.Contains(stun.AttrFingerprint), stun.Fingerprint.Check(m) == nil)
	var mapped stun.XORMappedAddress
	var code stun.ErrorCodeAttribute
	switch class {
	case "success":
		own := p.address()
		verdict("mapped", mapped.GetFrom(m) == nil, mapped.Port == int(own.Port()) && mapped.IP.Equal(net.IP(own.Addr().AsSlice())))
		verdict("transaction", true, m.TransactionID == p.transaction)
	case "error":
		if code.GetFrom(m) == nil {
			text = append(text, fmt.Sprintf("code=%d", code.Code))
		}
	}
	return strings.Join(text, " ")
}
