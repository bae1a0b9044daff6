package negotiate

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/sdp"
)

// DefaultSuites returns the SDES suites that are offered, in order.
func DefaultSuites() []string {
	return []string{
		"AEAD_AES_256_GCM", "AEAD_AES_128_GCM",
		"AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32",
		"AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32",
		"AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32",
		"F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32",
		"NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32",
	}
}

// KeyLength returns the length of master key and salt of a suite, in bytes
// (RFC 4568 §6.2, RFC 6188, RFC 7714); 0 for an unknown suite.
func KeyLength(suite string) int {
	switch suite {
	case "AEAD_AES_256_GCM":
		return 32 + 12
	case "AEAD_AES_128_GCM":
		return 16 + 12
	case "AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32":
		return 32 + 14
	case "AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32":
		return 24 + 14
	case "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32",
		"F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32",
		"NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32":
		return 16 + 14
	}
	return 0
}

// readCrypto reads an a=crypto line. Lines that cannot be served (unknown
// suite, key of the wrong length) do not count (RFC 4568 §6.3). Of several keys
// the first one counts; session parameters that are not known are passed over,
// as rtpengine does.
func readCrypto(value string) (Crypto, bool) {
	raw, ok := sdp.ParseCrypto(value)
	if !ok {
		return Crypto{}, false
	}
	c := Crypto{Tag: raw.Tag, Suite: raw.Suite}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(raw.Inline, "="))
	if err != nil || len(key) != KeyLength(raw.Suite) || len(key) == 0 {
		return Crypto{}, false
	}
	c.Key = key
	rest, _, _ := strings.Cut(raw.Rest, ";")
	if c.MKI, ok = readMKI(rest); !ok {
		return Crypto{}, false
	}
	for _, p := range raw.Params {
		switch strings.ToUpper(p) {
		case paramUnencryptedSRTP:
			c.UnencryptedSRTP = true
		case paramUnencryptedSRTCP:
			c.UnencryptedSRTCP = true
		case paramUnauthenticatedSRTP:
			c.UnauthenticatedSRTP = true
		}
	}
	return c, true
}

// Session parameters (RFC 4568 §6.3).
const (
	paramUnencryptedSRTP     = "UNENCRYPTED_SRTP"
	paramUnencryptedSRTCP    = "UNENCRYPTED_SRTCP"
	paramUnauthenticatedSRTP = "UNAUTHENTICATED_SRTP"
)

// readMKI finds the master key identifier in "|2^20|1:4". A value that is too
// large for its length loses its high bytes, as in rtpengine.
func readMKI(rest string) ([]byte, bool) {
	for part := range strings.SplitSeq(strings.TrimPrefix(rest, "|"), "|") {
		id, length, ok := strings.Cut(part, ":")
		if !ok {
			if _, err := strconv.ParseUint(strings.TrimPrefix(part, "2^"), 10, 64); part != "" && err != nil {
				return nil, false
			}
			continue
		}
		n, err := strconv.ParseUint(length, 10, 8)
		if err != nil || n == 0 {
			return nil, false
		}
		number, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, false
		}
		mki := make([]byte, n)
		for i := len(mki) - 1; i >= 0; i-- {
			mki[i] = byte(number)
			number >>= 8
		}
		return mki, true
	}
	return nil, true
}

// writeCrypto makes the value of an a=crypto line.
func writeCrypto(line SDESLine, key []byte, req *ng.Request) string {
	encoding := base64.RawStdEncoding
	if req.SDES.Pad || req.Flags.Has(ng.FlagPadCrypto) {
		encoding = base64.StdEncoding
	}
	c := sdp.Crypto{Tag: line.Tag, Suite: line.Suite, Inline: encoding.EncodeToString(key)}
	if req.SDES.Lifetime {
		c.Rest = "|2^31"
	}
	if len(line.MKI) > 0 {
		var number uint64
		for _, b := range line.MKI {
			number = number<<8 | uint64(b)
		}
		c.Rest += "|" + strconv.FormatUint(number, 10) + ":" + strconv.Itoa(len(line.MKI))
	}
	for _, p := range [...]struct {
		on   bool
		name string
	}{
		{line.UnencryptedSRTP, paramUnencryptedSRTP},
		{line.UnencryptedSRTCP, paramUnencryptedSRTCP},
		{line.UnauthenticatedSRTP, paramUnauthenticatedSRTP},
	} {
		if p.on {
			c.Params = append(c.Params, p.name)
		}
	}
	return c.String()
}

// suites returns the suites that may be used for req, best first by order.
func suites(req *ng.Request, opts *Options, order []string) []string {
	all := opts.Suites
	if all == nil {
		all = DefaultSuites()
	}
	list := make([]string, 0, len(all))
	for _, s := range order {
		if slices.Contains(all, s) && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, s := range all {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return slices.DeleteFunc(list, func(s string) bool {
		if len(req.SDES.Only) > 0 {
			return !slices.Contains(req.SDES.Only, s)
		}
		return slices.Contains(req.SDES.No, s)
	})
}
