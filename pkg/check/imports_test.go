package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tandem-sbc/tandem/"

// rule says what the packages that match its pattern may import of this
// module, and which other packages they must not even reach indirectly.
// Patterns are paths without the module's name; a trailing "/..." covers what
// is below too.
type rule struct {
	packages string
	may      []string
	never    []string // import paths outside the module, of the package itself
}

// law is the table of directions: main, app, then every package of its own
// half from the top down to the leaves. The first rule that matches a package
// counts; a package without a rule breaks the law, so that a new one gets its
// place here when it is made.
func law() []rule {
	leaves := []string{"pkg/..."}
	step := []string{"proxy/internal/request", "ng-protocol", "pkg/..."}
	return []rule{
		// The contract between the halves.
		{packages: "ng-protocol", never: []string{"net", "net/http", "go.uber.org/zap"}},
		{packages: "ng-protocol/conformance/...", may: []string{"ng-protocol/...", "pkg/..."}},
		{packages: "ng-protocol/...", may: []string{"ng-protocol", "pkg/..."}},

		// Leaves: lower ones may be used by higher ones, never a half.
		{packages: "pkg/sdp", never: []string{"net", "go.uber.org/zap"}},
		{packages: "pkg/rtp", never: []string{"net", "go.uber.org/zap"}},
		{packages: "pkg/udp", never: []string{"go.uber.org/zap"}},
		{packages: "pkg/uring", may: []string{"pkg/udp"}, never: []string{"net", "go.uber.org/zap"}},
		{packages: "pkg/...", may: leaves},

		// The media daemon.
		{packages: "mediad", may: []string{"mediad/internal/app", "mediad/internal/settings"}},
		{packages: "mediad/internal/app", may: []string{"mediad/internal/...", "ng-protocol/...", "pkg/..."}},
		{packages: "mediad/internal/settings", may: []string{"mediad/internal/limits", "ng-protocol", "pkg/telemetry", "pkg/conf"}},
		{packages: "mediad/internal/control", may: []string{"mediad/internal/call", "mediad/internal/metrics", "ng-protocol", "pkg/..."}},
		{packages: "mediad/internal/call", may: []string{
			"mediad/internal/negotiate", "mediad/internal/ports", "mediad/internal/secure", "mediad/internal/connect",
			"mediad/internal/flow", "mediad/internal/engine", "mediad/internal/limits", "mediad/internal/quality",
			"mediad/internal/report", "mediad/internal/teardown", "ng-protocol", "pkg/...",
		}},
		{
			packages: "mediad/internal/negotiate", may: []string{"ng-protocol", "pkg/sdp"},
			never: []string{"net", "os", "sync", "time", "go.uber.org/zap"},
		},
		{packages: "mediad/internal/teardown", may: []string{"pkg/telemetry"}},
		{packages: "mediad/internal/limits", may: []string{"ng-protocol"}},
		{packages: "mediad/internal/ports", may: []string{"pkg/udp"}},
		{packages: "mediad/internal/secure", may: leaves},
		{packages: "mediad/internal/quality", may: []string{"pkg/rtp"}, never: []string{"net", "go.uber.org/zap"}},
		{packages: "mediad/internal/report", may: []string{"mediad/internal/quality", "ng-protocol", "pkg/..."}},
		{packages: "mediad/internal/connect", may: leaves},
		{
			packages: "mediad/internal/flow", may: []string{"mediad/internal/secure", "mediad/internal/quality", "pkg/udp", "pkg/rtp"},
			never: []string{"go.uber.org/zap", "go.yaml.in/yaml/v3"},
		},
		{packages: "mediad/internal/engine", may: []string{"mediad/internal/flow", "pkg/udp"}},
		{packages: "mediad/internal/engine/loop", may: []string{"mediad/internal/engine"}},
		{packages: "mediad/internal/engine/exam", may: []string{
			"mediad/internal/engine", "mediad/internal/flow", "mediad/internal/ports", "mediad/internal/secure", "mediad/internal/connect",
		}},
		{packages: "mediad/internal/engine/...", may: []string{
			"mediad/internal/flow", "mediad/internal/engine", "mediad/internal/engine/loop", "mediad/internal/secure", // secure: Overhead
			"pkg/...",
		}},
		{packages: "mediad/internal/metrics", may: []string{"mediad/internal/call", "ng-protocol"}},
		{packages: "mediad/internal/cli", may: []string{
			"mediad/internal/call", "mediad/internal/metrics", "mediad/internal/limits", "ng-protocol", "pkg/...",
		}},
		{packages: "mediad/internal/legacy", may: []string{"ng-protocol", "pkg/..."}},
		{packages: "mediad/internal/admin", may: leaves},

		// The SIP proxy. A step never imports another step.
		{packages: "proxy", may: []string{"proxy/internal/app", "proxy/internal/settings", "pkg/..."}},
		{packages: "proxy/internal/app", may: []string{"proxy/internal/...", "ng-protocol/...", "pkg/..."}},
		{packages: "proxy/internal/chain", may: []string{"proxy/internal/...", "pkg/..."}},
		{packages: "proxy/internal/settings", may: []string{"ng-protocol", "pkg/..."}},
		{packages: "proxy/internal/request", may: leaves},
		{packages: "proxy/internal/edge", may: []string{"proxy/internal/request", "pkg/..."}},
		{packages: "proxy/internal/bridge", may: append([]string{"ng-protocol/ngclient"}, step...)},
		{packages: "proxy/internal/registrar", may: append([]string{"proxy/internal/location", "proxy/internal/midregistrar"}, step...)},
		{packages: "proxy/internal/midregistrar", may: []string{"proxy/internal/location", "pkg/..."}},
		{packages: "proxy/internal/route", may: append([]string{"proxy/internal/location"}, step...)},
		{packages: "proxy/internal/forward", may: append([]string{"proxy/internal/resolve", "proxy/internal/transaction"}, step...)},
		{packages: "proxy/internal/location", may: leaves},
		{packages: "proxy/internal/resolve", may: []string{"proxy/internal/request", "pkg/..."}},
		{packages: "proxy/internal/uac", may: append([]string{"proxy/internal/transaction"}, step...)},
		{packages: "proxy/internal/transaction", may: []string{"proxy/internal/request", "pkg/..."}},
		{packages: "proxy/internal/store/...", may: []string{
			"proxy/internal/store", "proxy/internal/location", "proxy/internal/auth", "proxy/internal/route", "proxy/internal/dialog",
			"proxy/internal/request", "pkg/...",
		}},
		{packages: "proxy/internal/admin", may: []string{"proxy/internal/...", "pkg/..."}},
		{packages: "proxy/internal/...", may: step},

		// What uses both as black boxes.
		{packages: "deploy/...", may: []string{"deploy/...", "ng-protocol/...", "pkg/..."}},
		{packages: "integration/...", may: []string{"integration/...", "ng-protocol/...", "pkg/..."}},
	}
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsFollowTheLaw(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 5 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for _, p := range packages {
		for _, fault := range judge(law(), p) {
			t.Error(fault)
		}
	}
}

// judge returns what is wrong with the imports of p.
func judge(rules []rule, p listed) []string {
	name := strings.TrimPrefix(p.ImportPath, module)
	at := slices.IndexFunc(rules, func(r rule) bool { return covers(r.packages, name) })
	if at < 0 {
		return []string{fmt.Sprintf("%s has no rule: give it its place in law()", name)}
	}
	r := rules[at]
	var faults []string
	for _, imported := range p.Imports {
		own, isOwn := strings.CutPrefix(imported, module)
		switch {
		case isOwn && !slices.ContainsFunc(r.may, func(pattern string) bool { return covers(pattern, own) }):
			faults = append(faults, fmt.Sprintf("%s imports %s; it may import %v", name, own, r.may))
		case slices.Contains(r.never, imported):
			faults = append(faults, fmt.Sprintf("%s imports %s, which it must not", name, imported))
		}
	}
	return faults
}

func covers(pattern, name string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == base || strings.HasPrefix(name, base+"/")
	}
	return pattern == name
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	cmd := exec.Command("go", "list", "-e", "-tags=integration", "-json=ImportPath,Imports", "./...")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(gomod)))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

func TestTheLawIsEnforced(t *testing.T) {
	for _, c := range []struct {
		from, to string
		faults   int
	}{
		{"mediad/internal/flow", module + "mediad/internal/call", 1},
		{"mediad/internal/flow", "go.uber.org/zap", 1},
		{"mediad/internal/flow", module + "pkg/rtp", 0},
		{"mediad/internal/negotiate", "net", 1},
		{"mediad/internal/negotiate", "net/netip", 0},
		{"mediad/internal/call", module + "proxy/internal/edge", 1},
		{"proxy/internal/auth", module + "proxy/internal/registrar", 1},
		{"proxy/internal/auth", module + "proxy/internal/request", 0},
		{"proxy/internal/bridge", module + "ng-protocol/ngclient", 0},
		{"proxy/internal/auth", module + "ng-protocol/ngclient", 1},
		{"integration/peer", module + "mediad/internal/app", 1},
		{"pkg/sdp", module + "ng-protocol", 1},
		{"somewhere/new", "fmt", 1},
	} {
		got := judge(law(), listed{ImportPath: module + c.from, Imports: []string{c.to}})
		if len(got) != c.faults {
			t.Errorf("%s importing %s: %q, want %d faults", c.from, c.to, got, c.faults)
		}
	}
}
