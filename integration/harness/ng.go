package harness

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/bencode"
)

// NG asks a media daemon about itself. It is deliberately not the project's own
// client: the exam must not share a mistake with what it examines.
type NG struct{ Address string }

// Ask sends one command and returns the reply's dictionary.
func (n NG) Ask(command map[string]any) (map[string]any, error) {
	conn, err := net.Dial("udp", n.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	body, err := bencode.EncodeBytes(command)
	if err != nil {
		return nil, err
	}
	cookie := "exam" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := conn.Write([]byte(cookie + " " + string(body))); err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	buffer := make([]byte, 65535)
	size, err := conn.Read(buffer)
	if err != nil {
		return nil, err
	}
	got, rest, _ := strings.Cut(string(buffer[:size]), " ")
	if got != cookie {
		return nil, fmt.Errorf("reply to another cookie: %q", got)
	}
	reply := map[string]any{}
	if err := bencode.DecodeString(rest, &reply); err != nil {
		return nil, err
	}
	return reply, nil
}

// Ping checks that the daemon answers pong.
func (n NG) Ping() error {
	reply, err := n.Ask(map[string]any{"command": "ping"})
	if err != nil {
		return err
	}
	if reply["result"] != "pong" {
		return fmt.Errorf("ping: %v", reply)
	}
	return nil
}

// Calls lists the daemon's call-ids.
func (n NG) Calls() ([]string, error) {
	reply, err := n.Ask(map[string]any{"command": "list"})
	if err != nil {
		return nil, err
	}
	list, ok := reply["calls"].([]any)
	if reply["result"] != "ok" || !ok {
		return nil, fmt.Errorf("list: %v", reply)
	}
	calls := make([]string, len(list))
	for i, call := range list {
		calls[i] = fmt.Sprint(call)
	}
	return calls, nil
}

// MediaPorts lists the media ports of all calls, as the daemon tells them.
func (n NG) MediaPorts() ([]int, error) {
	calls, err := n.Calls()
	if err != nil {
		return nil, err
	}
	var ports []int
	for _, id := range calls {
		reply, err := n.Ask(map[string]any{"command": "query", "call-id": id})
		if err != nil {
			return nil, err
		}
		tags, _ := reply["tags"].(map[string]any)
		for _, tag := range tags {
			for _, media := range list(tag, "medias") {
				for _, stream := range list(media, "streams") {
					s, _ := stream.(map[string]any)
					if port, err := strconv.Atoi(fmt.Sprint(s["local port"])); err == nil {
						ports = append(ports, port)
					}
				}
			}
		}
	}
	return ports, nil
}

// list is the list that a dictionary has under a key, nil if it has none.
func list(dictionary any, key string) []any {
	d, _ := dictionary.(map[string]any)
	l, _ := d[key].([]any)
	return l
}

// PortsInUse is how many media ports the daemon says that it uses, whether or not
// they are sockets.
func (n NG) PortsInUse() (int, error) {
	reply, err := n.Ask(map[string]any{"command": "statistics"})
	if err != nil {
		return 0, err
	}
	statistics, _ := reply["statistics"].(map[string]any)
	interfaces, ok := statistics["interfaces"].([]any)
	if !ok {
		return 0, fmt.Errorf("statistics without interfaces: %v", reply)
	}
	sum := 0
	for _, i := range interfaces {
		entry, _ := i.(map[string]any)
		ports, _ := entry["ports"].(map[string]any)
		used, err := strconv.Atoi(fmt.Sprint(ports["used"]))
		if err != nil {
			return 0, fmt.Errorf("statistics: used ports of %v: %w", entry["name"], err)
		}
		sum += used
	}
	return sum, nil
}

// MediaSockets are the UDP ports in [low, high] of the process pid, but for those
// that it has held since its start: engines have sockets of their own, whose ports
// the kernel chooses.
func MediaSockets(pid, low, high int, atStart []int) ([]int, error) {
	ports, err := UDPPorts(pid, low, high)
	return slices.DeleteFunc(ports, func(port int) bool { return slices.Contains(atStart, port) }), err
}

// UDPPorts reads from /proc the local UDP ports in [low, high] that the process
// pid holds, in no order.
func UDPPorts(pid, low, high int) ([]int, error) {
	owned, err := socketInodes(pid)
	if err != nil {
		return nil, err
	}
	var ports []int
	for _, table := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			return nil, err
		}
		for _, line := range strings.Split(string(text), "\n")[1:] {
			fields := strings.Fields(line)
			if len(fields) < 10 || !owned[fields[9]] {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err == nil && int(port) >= low && int(port) <= high {
				ports = append(ports, int(port))
			}
		}
	}
	return ports, nil
}

func socketInodes(pid int) (map[string]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	inodes := map[string]bool{}
	for _, entry := range entries {
		target, err := os.Readlink(dir + "/" + entry.Name())
		if err != nil {
			continue // closed since
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes, nil
}
