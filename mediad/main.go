// Command mediad is Tandem's media daemon. It takes rtpengine's command line,
// configuration file and control protocol.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/tandem-sbc/tandem/mediad/internal/app"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: 0 after a clean end, 1 if the daemon could not
// run, 2 if it was told nonsense.
func run(args []string) int {
	s, err := settings.Load(args)
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "mediad: %v\n", err)
		return 2
	case s.Process.ShowHelp:
		fmt.Print(settings.Usage())
		return 0
	case s.Process.ShowVersion:
		fmt.Println("Version:", "mediad", version())
		return 0
	case s.Process.ShowCodecs:
		fmt.Print(settings.Codecs())
		return 0
	}
	if !s.Process.Foreground && !app.InBackground() {
		code, err := app.Background(args)
		if err != nil {
			fmt.Fprintf(os.Stderr, "mediad: %v\n", err)
			return 1
		}
		return code
	}
	load := func() (*settings.Settings, error) { return settings.Load(args) }
	if err := app.Run(context.Background(), s, version(), load); err != nil {
		fmt.Fprintf(os.Stderr, "mediad: %v\n", err)
		return 1
	}
	return 0
}

// version is the module's version, or the commit that this was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value
		}
	}
	return "devel"
}
