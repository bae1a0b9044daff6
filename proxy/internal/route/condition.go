package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

const (
	// maxCondition bounds a condition's text in bytes, maxNodes its syntax tree.
	maxCondition, maxNodes = 4096, 500
	// memoryBudget bounds what one evaluation may build, in the units of the library (elements).
	memoryBudget = 10_000
)

// environment is what conditions see of a request.
type environment struct {
	Method     string `expr:"method"`
	User       string `expr:"user"`   // of the request URI
	Domain     string `expr:"domain"` // its host, as it came
	FromUser   string `expr:"from_user"`
	FromDomain string `expr:"from_domain"`
	Caller     string `expr:"caller"` // authenticated, name@domain; "" for trunks
	Trunk      string `expr:"trunk"`  // it comes from; "" for users
	Source     string `expr:"source"` // IP address
	Listener   string `expr:"listener"`
	Transport  string `expr:"transport"`
	// Header returns the first value of a header, "" if it is absent.
	Header func(name string) string `expr:"header"`
	// Network reports whether source is in a range like 192.0.2.0/24.
	Network func(prefix string) (bool, error) `expr:"network"`
}

// Condition is a compiled expression. It is safe for concurrent use.
type Condition struct {
	text    string
	program *vm.Program
	vms     *sync.Pool
}

// Compile reads and checks an expression; errors name the column. Loops and functions of the library are switched off, and
// regular expressions (RE2) must be constants, so that an evaluation takes time and memory in proportion to the request.
func Compile(text string) (*Condition, error) {
	if len(text) > maxCondition {
		return nil, fmt.Errorf("longer than %d characters", maxCondition)
	}
	constants := &constantsOnly{}
	program, err := expr.Compile(text, expr.Env(environment{}), expr.AsBool(), expr.DisableAllBuiltins(),
		expr.EnableBuiltin("len"), expr.EnableBuiltin("lower"), expr.EnableBuiltin("upper"), expr.EnableBuiltin("trim"),
		expr.MaxNodes(maxNodes), expr.Patch(constants))
	if err != nil {
		var at *file.Error
		if errors.As(err, &at) {
			return nil, fmt.Errorf("column %d: %s", at.Column+1, at.Message)
		}
		return nil, err
	}
	if constants.err != nil {
		return nil, constants.err
	}
	return &Condition{text: text, program: program, vms: &sync.Pool{New: func() any { return &vm.VM{MemoryBudget: memoryBudget} }}}, nil
}

// constantsOnly refuses what could only be found out with a request at hand.
type constantsOnly struct{ err error }

// Visit implements ast.Visitor.
func (c *constantsOnly) Visit(node *ast.Node) {
	fault := func(n ast.Node, format string, args ...any) {
		if c.err == nil {
			c.err = fmt.Errorf("column %d: %s", n.Location().From+1, fmt.Sprintf(format, args...))
		}
	}
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		if _, constant := n.Right.(*ast.StringNode); n.Operator == "matches" && !constant {
			fault(n.Right, "matches needs a constant regular expression")
		}
		if n.Operator == ".." || n.Operator == "**" || n.Operator == "^" {
			fault(n, "%s is not allowed here", n.Operator)
		}
	case *ast.PredicateNode: // of all, filter, map …: loops within loops
		fault(n, "loops are not allowed")
	case *ast.VariableDeclaratorNode: // texts that double each time
		fault(n, "let is not allowed")
	case *ast.CallNode:
		id, ok := n.Callee.(*ast.IdentifierNode)
		if !ok || id.Value != "network" || len(n.Arguments) != 1 {
			return
		}
		s, constant := n.Arguments[0].(*ast.StringNode)
		if !constant {
			fault(n, "network needs a constant range")
		} else if _, err := parseRange(s.Value); err != nil {
			fault(s, "%v", err)
		}
	}
}

// parseRange reads an address or a range of addresses.
func parseRange(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a range like 192.0.2.0/24", text)
	}
	return p, nil
}

// String is the expression.
func (c *Condition) String() string { return c.text }

// holds evaluates the condition.
func (c *Condition) holds(q *question) (bool, error) {
	if q.environment == nil {
		q.environment = newEnvironment(q)
	}
	q.environment.User = q.user
	machine := c.vms.Get().(*vm.VM)
	defer c.vms.Put(machine)
	out, err := machine.Run(c.program, q.environment)
	if err != nil {
		var at *file.Error
		if errors.As(err, &at) { // without its lines of text
			err = errors.New(at.Message)
		}
		return false, err
	}
	holds, _ := out.(bool)
	return holds, nil
}

func newEnvironment(q *question) *environment {
	r := q.r
	e := &environment{
		Method: string(r.Msg.Method), User: q.user, Domain: strings.ToLower(r.Msg.Recipient.Host), Caller: r.User, Trunk: r.Trunk,
	}
	if from, err := request.ParseAddress(request.Header(r.Msg, "From")); err == nil {
		e.FromUser, e.FromDomain = from.URI.User, strings.ToLower(from.URI.Host)
	}
	source := r.Source.Addr().Unmap()
	e.Source = source.String()
	if r.Conn != nil {
		e.Listener, e.Transport = r.Conn.Listener(), string(r.Conn.Transport())
	}
	e.Header = func(name string) string { return request.Header(r.Msg, name) }
	e.Network = func(text string) (bool, error) {
		p, err := parseRange(text)
		return err == nil && p.Contains(source), err
	}
	return e
}
