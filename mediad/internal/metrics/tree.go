package metrics

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// Statistics returns the value of the ng key "statistics".
func (s *Snapshot) Statistics() ng.Dict { return ngDict(s.tree()) }

// JSON returns the same as one JSON object, whose numbers are numbers.
func (s *Snapshot) JSON() []byte { return appendJSON(nil, s.tree()) }

func (s *Snapshot) tree() []node {
	return []node{
		{key: "currentstatistics", dict: s.current()},
		{key: "totalstatistics", dict: s.totals()},
		{key: "intervalstatistics", dict: s.intervals()},
		{key: "mos", dict: []node{
			leaf("mos_total", decimal(s.MOS.Sum)),
			leaf("mos2_total", decimal(s.MOS.Squares)),
			leaf("mos_samples_total", integer(s.MOS.Count)),
			leaf("mos_average", decimal(mean(s.MOS.Sum, s.MOS.Count))),
			leaf("mos_stddev", decimal(deviation(s.MOS.Sum, s.MOS.Squares, s.MOS.Count))),
		}},
		{key: "controlstatistics", dict: s.control()},
		{key: "interfaces", list: s.interfaces()},
		{key: "transcoders", list: [][]node{}},
	}
}

func (s *Snapshot) current() []node {
	inUser, inKernel := user(s.Rate), kernel(s.Rate)
	return []node{
		leaf("sessionsown", integer(s.Calls-s.Foreign)),
		leaf("sessionsforeign", integer(s.Foreign)),
		leaf("sessionstotal", integer(s.Calls)),
		leaf("transcodedmedia", integer(0)),
		leaf("packetrate_user", integer(inUser.packets)),
		leaf("byterate_user", integer(inUser.bytes)),
		leaf("errorrate_user", integer(inUser.errors)),
		leaf("packetrate_kernel", integer(inKernel.packets)),
		leaf("byterate_kernel", integer(inKernel.bytes)),
		leaf("errorrate_kernel", integer(inKernel.errors)),
		leaf("packetrate", integer(s.Rate.Packets)),
		leaf("byterate", integer(s.Rate.Bytes)),
		leaf("errorrate", integer(s.Rate.Errors)),
		leaf("media_userspace", integer(s.Active-s.Kernel)),
		leaf("media_kernel", integer(s.Kernel)),
		leaf("media_mixed", integer(0)),
	}
}

func (s *Snapshot) totals() []node {
	inUser, inKernel := user(s.Traffic), kernel(s.Traffic)
	return []node{
		leaf("uptime", wide(int64(s.Uptime.Seconds()))),
		leaf("managedsessions", integer(s.Ended.Total())),
		leaf("rejectedsessions", integer(s.Rejected)),
		leaf("timeoutsessions", integer(s.Ended.Timeout)),
		leaf("silenttimeoutsessions", integer(s.Ended.Silent)),
		leaf("finaltimeoutsessions", integer(s.Ended.Final)),
		leaf("offertimeoutsessions", integer(s.Ended.Offer)),
		leaf("regularterminatedsessions", integer(s.Ended.Regular)),
		leaf("forcedterminatedsessions", integer(s.Ended.Forced)),
		leaf("relayedpackets_user", integer(inUser.packets)),
		leaf("relayedpacketerrors_user", integer(inUser.errors)),
		leaf("relayedbytes_user", integer(inUser.bytes)),
		leaf("relayedpackets_kernel", integer(inKernel.packets)),
		leaf("relayedpacketerrors_kernel", integer(inKernel.errors)),
		leaf("relayedbytes_kernel", integer(inKernel.bytes)),
		leaf("relayedpackets", integer(s.Packets)),
		leaf("relayedpacketerrors", integer(s.Errors)),
		leaf("relayedbytes", integer(s.Bytes)),
		leaf("zerowaystreams", integer(s.ZeroWay)),
		leaf("onewaystreams", integer(s.OneWay)),
		leaf("avgcallduration", decimal(s.AverageDuration())),
		leaf("totalcallsduration", decimal(s.Duration.Seconds())),
		leaf("totalcallsduration2", decimal(s.DurationSquares)),
		leaf("totalcallsduration_stddev", decimal(s.durationDeviation())),
	}
}

func (s *Snapshot) durationDeviation() float64 {
	return deviation(s.Duration.Seconds(), s.DurationSquares, s.Ended.Total())
}

// intervals are what was last reported to Graphite; all of it is 0 without one.
func (s *Snapshot) intervals() []node {
	v := &s.Interval
	nodes := []node{
		leaf("totalcallsduration", decimal(v.CallDuration.Seconds())),
		leaf("minmanagedsessions", integer(v.MinSessions)), leaf("maxmanagedsessions", integer(v.MaxSessions)),
	}
	for i, c := range countedCommands() {
		name, n := string(c.command)+"delay", v.command(i)
		nodes = append(nodes, leaf("min"+name, decimal(n.Min.Seconds())), leaf("max"+name, decimal(n.Max.Seconds())),
			leaf("avg"+name, decimal(n.Mean.Seconds())))
	}
	for i, c := range countedCommands() {
		name, n := string(c.command)+"requestrate", v.command(i)
		nodes = append(nodes, leaf("min"+name, wide(int64(n.MinRate))), leaf("max"+name, wide(int64(n.MaxRate))),
			leaf("avg"+name, wide(int64(n.MeanRate))))
	}
	return nodes
}

func (s *Snapshot) control() []node {
	proxies := make([][]node, 0, len(s.Proxies))
	for _, p := range s.Proxies {
		entry := []node{{key: "proxy", text: p.name()}}
		for i, c := range countedCommands() {
			entry = append(entry, leaf(c.key+"count", integer(p.Counts[i])), leaf(c.key+"duration", decimal(p.Took[i].Seconds())))
		}
		proxies = append(proxies, append(entry, leaf("errorcount", integer(p.Errors))))
	}
	nodes := []node{{key: "proxies", list: proxies}}
	for i, c := range countedCommands() {
		nodes = append(nodes, leaf("total"+c.key+"count", integer(s.total(i))))
	}
	return nodes
}

func (s *Snapshot) interfaces() [][]node {
	list := make([][]node, 0, len(s.Ports))
	for _, p := range s.Ports {
		list = append(list, []node{
			{key: "name", text: p.Interface},
			{key: "address", text: p.Address},
			{key: "ports", dict: []node{
				leaf("min", integer(p.Min)), leaf("max", integer(p.Max)), leaf("used", integer(p.Used)),
				leaf("used_pct", percent(p.Percent())), leaf("free", integer(p.Free())), leaf("totals", integer(p.Total)),
				leaf("last", integer(p.Last)),
			}},
		})
	}
	return list
}
