package ng

// Dict is a dictionary that keeps the order of its entries.
type Dict []Entry

// Entry is one key of a Dict. Value is a string, int, int64, uint64, bool,
// float64, Dict, []Dict, []string, []any or nil (left out when written).
type Entry struct {
	Key   string
	Value any
}

// Get returns the value of key, nil if there is none.
func (d Dict) Get(key string) any {
	for i := range d {
		if d[i].Key == key {
			return d[i].Value
		}
	}
	return nil
}
