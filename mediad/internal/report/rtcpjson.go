package report

// rtcpJSON describes the reports of a compound packet as Homer knows them from rtpengine; nil if it has neither reports nor source
// descriptions. Two reports in one packet repeat keys, as there.
func rtcpJSON(pkt []byte) []byte {
	b := []byte("{ ")
	for p := range packets(pkt) {
		switch p.kind {
		case typeSR:
			if ssrc, info, ok := p.sender(); ok {
				b = appendSender(b, info)
				b = appendReport(b, p, ssrc)
			}
		case typeRR:
			if len(p.body) >= ssrcSize {
				b = appendReport(b, p, u32(p.body, 0))
			}
		case typeSDES:
			b = appendDescriptions(b, p)
		}
	}
	if b[len(b)-1] != ',' {
		return nil
	}
	return append(b[:len(b)-1], " }"...)
}

func appendSender(b, info []byte) []byte {
	b = appendField(b, `"sender_information":{"ntp_timestamp_sec":`, u32(info, 0))
	b = appendField(b, `,"ntp_timestamp_usec":`, u32(info, 4)) // the fraction, really
	b = appendField(b, `,"octets":`, u32(info, 16))
	b = appendField(b, `,"rtp_timestamp":`, u32(info, 8))
	b = appendField(b, `, "packets":`, u32(info, 12))
	return append(b, "},"...)
}

func appendReport(b []byte, p rtcpPacket, ssrc uint64) []byte {
	b = appendField(b, `"ssrc":`, ssrc)
	b = appendField(b, `,"type":`, uint64(p.kind))
	b = appendField(b, `,"report_count":`, uint64(p.count))
	b = append(b, `,"report_blocks":[`...)
	separator := ""
	for k := range p.blocks() {
		b = append(b, separator...)
		b = appendField(b, `{"source_ssrc":`, u32(k, 0))
		b = appendField(b, `,"highest_seq_no":`, u32(k, 8))
		b = appendField(b, `,"fraction_lost":`, uint64(k[4]))
		b = appendField(b, `,"ia_jitter":`, u32(k, 12))
		b = appendField(b, `,"packets_lost":`, u32(k, 4)&0xffffff)
		b = appendField(b, `,"lsr":`, u32(k, 16))
		b = appendField(b, `,"dlsr":`, u32(k, 20))
		b = append(b, '}')
		separator = ","
	}
	return append(b, "],"...)
}

func appendDescriptions(b []byte, p rtcpPacket) []byte {
	b = appendField(b, `"sdes_report_count":`, uint64(p.count))
	b = append(b, `,"sdes_information": [ `...)
	separator := ""
	for i := range p.items() {
		b = append(b, separator...)
		b = appendField(b, `{"sdes_chunk_ssrc":`, i.ssrc)
		b = appendField(b, `,"type":`, uint64(i.kind))
		b = append(b, `,"text":"`...)
		b = appendText(b, i.text)
		b = append(b, `"}`...)
		separator = ","
	}
	return append(b, "],"...)
}

// appendText writes printable ASCII; all else becomes an underscore.
func appendText(b, text []byte) []byte {
	for _, c := range text {
		switch {
		case c < ' ' || c > '~':
			b = append(b, '_')
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// rtcpLine describes a compound packet for the log (rtpengine: log-facility-rtcp).
func rtcpLine(pkt []byte) string {
	var b []byte
	for p := range packets(pkt) {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = appendField(b, "version=", uint64(p.version))
		padding := uint64(0)
		if p.padding {
			padding = 1
		}
		b = appendField(b, ", padding=", padding)
		b = appendField(b, ", count=", uint64(p.count))
		b = appendField(b, ", payloadtype=", uint64(p.kind))
		b = appendField(b, ", length=", uint64(p.words))
		if (p.kind == typeSR || p.kind == typeRR) && len(p.body) >= ssrcSize {
			b = appendField(b, ", ssrc=", u32(p.body, 0))
		}
		if _, info, ok := p.sender(); p.kind == typeSR && ok {
			b = appendField(b, ", ntp_sec=", u32(info, 0))
			b = appendField(b, ", ntp_fractions=", u32(info, 4))
			b = appendField(b, ", rtp_ts=", u32(info, 8))
			b = appendField(b, ", sender_packets=", u32(info, 12))
			b = appendField(b, ", sender_bytes=", u32(info, 16))
		}
		if p.kind == typeSR || p.kind == typeRR {
			for k := range p.blocks() {
				b = appendField(b, ", ssrc=", u32(k, 0))
				b = appendField(b, ", fraction_lost=", uint64(k[4]))
				b = appendField(b, ", packet_loss=", u32(k, 4)&0xffffff)
				b = appendField(b, ", last_seq=", u32(k, 8))
				b = appendField(b, ", jitter=", u32(k, 12))
				b = appendField(b, ", last_sr=", u32(k, 16))
				b = appendField(b, ", delay_since_last_sr=", u32(k, 20))
			}
		}
	}
	return string(b)
}
