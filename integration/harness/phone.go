package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Accounts of a plain phone; each treats a call to it in its own way.
const (
	ToneUser  = "tone"  // answers after ToneRing, plays 440 Hz
	SlowUser  = "slow"  // the same after SlowRing
	BusyUser  = "busy"  // 486
	QuietUser = "quiet" // rings and never answers

	ToneRing = 100 * time.Millisecond
	SlowRing = 250 * time.Millisecond
)

// PhoneUsers are all accounts of a plain phone.
var PhoneUsers = []string{ToneUser, SlowUser, BusyUser, QuietUser}

// Phone is a running deploy/demo-phone: plain SIP over UDP, RTP/AVP, G.711.
type Phone struct {
	*Process
	control  string // URL of its HTTP API
	client   *http.Client
	sipLog   string
	accounts int

	sinceCall, sinceMessage int // what Reset had seen
}

// PhoneCall is what the phone tells of one call.
type PhoneCall struct {
	ID, Direction string
	State         string // calling, ringing, early, established, ended
	Status        int
	Reason        string
	RTP           PhoneRTP
	Recording     string // path of a WAV file of what it heard, complete when ended
}

// PhoneRTP counts the packets of one call of a phone.
type PhoneRTP struct {
	Sent, Received, Lost, Stray, Unknown int
	Digits                               string  // received as telephone-events
	FrequencyHz                          float64 // dominant in the last second that was received; 0 is silence
}

// StartPhone runs program on host, with PhoneUsers registered with the proxy at
// registrar.
func StartPhone(program, host, registrar, dir string) (*Phone, error) {
	return StartAccounts(program, "phone", host, registrar, dir, map[string]string{
		ToneUser: "tone,ring=" + ToneRing.String(), SlowUser: "tone,ring=" + SlowRing.String(),
		BusyUser: "silence,busy", QuietUser: "silence,no-answer",
	})
}

// StartAccounts runs program as a phone of that name on host with other users:
// accounts tells for each how it treats calls (deploy/demo-phone's -account).
func StartAccounts(program, name, host, registrar, dir string, accounts map[string]string) (*Phone, error) {
	port, err := FreePort(host)
	if err != nil {
		return nil, err
	}
	control := net.JoinHostPort(host, strconv.Itoa(port))
	p := &Phone{
		control: "http://" + control, client: &http.Client{Transport: &http.Transport{}},
		sipLog: filepath.Join(dir, name+"-sip.jsonl"), accounts: len(accounts),
	}
	args := []string{
		"-listen", net.JoinHostPort(host, "0"), "-control", control, "-registrar", registrar, "-domain", Domain,
		"-record", filepath.Join(dir, name+"-heard"), "-log-sip", p.sipLog,
	}
	for user, manner := range accounts {
		args = append(args, "-account", user+":"+Password+":"+manner)
	}
	if p.Process, err = Start(Spec{Name: name, Path: program, Dir: dir, Args: args}); err != nil {
		return nil, err
	}
	if err := p.Ready(p.registered); err != nil {
		return nil, p.fail(err)
	}
	return p, nil
}

// Stop ends the phone: it hangs up and de-registers first.
func (p *Phone) Stop() error {
	p.client.CloseIdleConnections()
	return p.Process.Stop()
}

func (p *Phone) registered() error {
	var accounts []struct {
		User       string
		Registered bool
	}
	if err := p.get("/accounts", &accounts); err != nil {
		return err
	}
	for _, account := range accounts {
		if !account.Registered {
			return fmt.Errorf("%s is not registered", account.User)
		}
	}
	if len(accounts) != p.accounts {
		return fmt.Errorf("%d accounts, want %d", len(accounts), p.accounts)
	}
	return nil
}

// Reset forgets all calls and messages so far: the other functions tell only of
// what comes then.
func (p *Phone) Reset() error {
	p.sinceCall, p.sinceMessage = 0, 0
	calls, err := p.calls()
	if err != nil {
		return err
	}
	messages, err := p.Messages()
	p.sinceCall, p.sinceMessage = len(calls), len(messages)
	return err
}

func (p *Phone) calls() ([]PhoneCall, error) {
	var calls []PhoneCall
	err := p.get("/calls", &calls)
	return calls[min(p.sinceCall, len(calls)):], err
}

// ErrNoCall says that the phone has had no call since Reset.
var ErrNoCall = errors.New("the phone has no call")

// Last is the newest call since Reset.
func (p *Phone) Last() (PhoneCall, error) {
	calls, err := p.calls()
	if err != nil {
		return PhoneCall{}, err
	}
	if len(calls) == 0 {
		return PhoneCall{}, ErrNoCall
	}
	return calls[len(calls)-1], nil
}

// Until waits for the newest call to reach one of the states.
func (p *Phone) Until(limit time.Duration, states ...string) error {
	return Eventually(limit, func() error {
		call, err := p.Last()
		if err == nil && !slices.Contains(states, call.State) {
			err = fmt.Errorf("the phone's call is %s (%d %s), not %v", call.State, call.Status, call.Reason, states)
		}
		return err
	})
}

// Call calls user from ToneUser.
func (p *Phone) Call(user string) error { return p.CallFrom(ToneUser, user) }

// CallFrom calls user from one of the phone's own accounts.
func (p *Phone) CallFrom(account, user string) error {
	return p.post("/call", map[string]string{"user": account, "to": "sip:" + user + "@" + Domain})
}

// CallWithoutOffer calls user with an INVITE that has no SDP: the callee offers in
// its 200, and the phone answers in its ACK.
func (p *Phone) CallWithoutOffer(user string) error {
	return p.post("/call", map[string]any{"user": ToneUser, "to": "sip:" + user + "@" + Domain, "lateOffer": true})
}

// Hangup ends the live call with CANCEL or BYE, as its state asks.
func (p *Phone) Hangup() error { return p.post("/hangup", nil) }

// Hold sends a re-INVITE with direction (sendonly, inactive) and waits for its
// answer. The phone plays its tone on in sendonly, as others do with music.
func (p *Phone) Hold(direction string) error {
	return p.post("/hold", map[string]string{"direction": direction})
}

// Resume sends a re-INVITE with sendrecv; without a hold before it changes nothing.
func (p *Phone) Resume() error { return p.post("/resume", nil) }

// Transfer asks the peer by REFER to call user instead.
func (p *Phone) Transfer(user string) error {
	return p.post("/transfer", map[string]string{"to": "sip:" + user + "@" + Domain})
}

// Heard is the recording of the newest call, which must have ended.
func (p *Phone) Heard() (Sound, error) {
	call, err := p.Last()
	if err != nil {
		return Sound{}, err
	}
	return ReadWAV(call.Recording)
}

// Messages are the SIP messages since Reset, as they were on the phone's socket.
func (p *Phone) Messages() ([]Message, error) {
	text, err := os.ReadFile(p.sipLog)
	if err != nil {
		return nil, err
	}
	var messages []Message
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry struct {
			Time               time.Time
			Direction, Message string
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			break // the last line is just being written
		}
		messages = append(messages, Message{
			Sent: entry.Direction == "sent", Time: entry.Time.UnixMilli(), Text: entry.Message,
		})
	}
	return messages[min(p.sinceMessage, len(messages)):], nil
}

func (p *Phone) get(path string, result any) error {
	response, err := p.client.Get(p.control + path)
	if err != nil {
		return err
	}
	return p.decode(path, response, result)
}

func (p *Phone) post(path string, with any) error {
	body, err := json.Marshal(with)
	if err != nil {
		return err
	}
	if with == nil {
		body = nil
	}
	response, err := p.client.Post(p.control+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	return p.decode(path, response, nil)
}

func (p *Phone) decode(path string, response *http.Response, result any) error {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("phone %s: %s: %s", path, response.Status, bytes.TrimSpace(body))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(body, result)
}
