// Command proxy is the SIP half of Tandem: it registers browsers and phones,
// forwards their calls, and has media daemons bridge what they speak.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tandem-sbc/tandem/proxy/internal/app"
	"github.com/tandem-sbc/tandem/proxy/internal/settings"
)

const usage = `usage:
  proxy [-config FILE]   run with the configuration FILE (default proxy.yaml)
  proxy check FILE       check FILE and start nothing
  proxy explain FILE FROM[@LISTENER] < REQUEST
                         ask the proxy that runs with FILE (by its admin.address)
                         what it would do with a request from the address and
                         port FROM
  proxy schema           print the JSON schema of the file, for editors
  proxy user set|delete FILE USER@DOMAIN
                         change an account in the store of FILE; the password
                         is read from standard input
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command; it returns the exit code: 0 done, 1 failed, 2 wrong
// usage.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdin, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprint(stderr, usage)
		return 2
	}
	fmt.Fprintln(stderr, err)
	return 1
}

var errUsage = errors.New("wrong usage")

func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "check":
			if len(args) != 2 {
				return errUsage
			}
			if _, err := app.Load(args[1]); err != nil {
				return err
			}
			fmt.Fprintf(stdout, "%s: good\n", args[1])
			return nil
		case "schema":
			if len(args) != 1 {
				return errUsage
			}
			_, err := stdout.Write(settings.Schema)
			return err
		case "explain":
			if len(args) != 3 {
				return errUsage
			}
			return app.AskToExplain(ctx, args[1], args[2], stdin, stdout)
		case "user":
			if len(args) != 4 {
				return errUsage
			}
			return app.ChangeUser(ctx, args[1], args[2], args[3], stdin)
		}
	}
	flags := flag.NewFlagSet("proxy", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("config", "proxy.yaml", "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	return app.Run(ctx, *file, hangups, stderr)
}
