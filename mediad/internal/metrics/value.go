package metrics

import (
	"fmt"
	"strconv"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// value is a number with the text that rtpengine writes it as.
type value struct {
	text    string
	integer bool // an integer in bencode; other numbers are strings there
}

func integer[T int | int64 | uint16 | uint64](n T) value { return value{fmt.Sprint(n), true} }

// wide is a number that rtpengine takes for larger than an integer.
func wide(n int64) value { return value{strconv.FormatInt(n, 10), false} }

// decimal has six places, as all seconds.
func decimal(f float64) value { return value{strconv.FormatFloat(f, 'f', 6, 64), false} }

func percent(f float64) value { return value{strconv.FormatFloat(f, 'f', 2, 64), false} }

// node is a place in the tree of statistics: a number, a text, a dictionary or
// a list of dictionaries.
type node struct {
	key    string
	number value
	text   string
	dict   []node
	list   [][]node // not nil, even if it is empty
}

func leaf(key string, v value) node { return node{key: key, number: v} }

// appendJSON writes nodes as an object, with all numbers as they are.
func appendJSON(b []byte, nodes []node) []byte {
	b = append(b, '{')
	for i, n := range nodes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, n.key), ':')
		switch {
		case n.list != nil:
			b = append(b, '[')
			for j, entry := range n.list {
				if j > 0 {
					b = append(b, ',')
				}
				b = appendJSON(b, entry)
			}
			b = append(b, ']')
		case n.dict != nil:
			b = appendJSON(b, n.dict)
		case n.number.text != "":
			b = append(b, n.number.text...)
		default:
			b = strconv.AppendQuote(b, n.text)
		}
	}
	return append(b, '}')
}

// ngDict turns nodes into what goes over ng.
func ngDict(nodes []node) ng.Dict {
	d := make(ng.Dict, 0, len(nodes))
	for _, n := range nodes {
		d = append(d, ng.Entry{Key: n.key, Value: n.ngValue()})
	}
	return d
}

func (n *node) ngValue() any {
	switch {
	case n.list != nil:
		list := make([]ng.Dict, 0, len(n.list))
		for _, entry := range n.list {
			list = append(list, ngDict(entry))
		}
		return list
	case n.dict != nil:
		return ngDict(n.dict)
	case n.number.integer:
		i, _ := strconv.ParseInt(n.number.text, 10, 64) // was written by integer
		return i
	case n.number.text != "":
		return n.number.text
	}
	return n.text
}
