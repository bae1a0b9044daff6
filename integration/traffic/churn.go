package traffic

// Churn sets calls up and deletes each at once, with a number of commands in flight. The calls have no
// media.
func Churn(p Parties, dial Dialer, calls, inFlight int) error {
	const port = 4000
	return each(dial, inFlight, calls, func(control *Control, i int) error {
		c := newCall(i, [2]uint16{port, port + 2})
		if err := c.establish(control, &p, first()); err != nil {
			return err
		}
		return c.remove(control)
	})
}
