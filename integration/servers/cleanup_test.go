package servers_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/sidewire/sidewire/integration/servers"
)

const victimEnv = "SIDEWIRE_SERVERS_VICTIM"

// TestVictim is the process that TestNothingIsLeft ends in several ways; by itself it does nothing.
func TestVictim(t *testing.T) {
	how := os.Getenv(victimEnv)
	if how == "" {
		t.Skip("run by TestNothingIsLeft")
	}
	pg, kv := servers.Postgres(t), servers.Redis(t)
	os.Stdout.WriteString("\nfolders " + pg.Dir + " " + kv.Dir + "\n")
	switch how {
	case "panic":
		go panic("on purpose")
		select {}
	case "wait":
		select {}
	}
}

// However the process that started servers ends, they end, their own children included, and their folders go.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	servers.Postgres(t) // skips where there is none
	for _, how := range []string{"return", "panic", "wait"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), victimEnv+"="+how)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			var folders []string
			for s := bufio.NewScanner(out); s.Scan(); {
				if list, found := strings.CutPrefix(s.Text(), "folders "); found {
					folders = strings.Fields(list)
					if how == "wait" {
						cmd.Process.Signal(syscall.SIGKILL)
					}
				}
			}
			cmd.Wait()
			if len(folders) != 2 {
				t.Fatalf("the victim named %d folders", len(folders))
			}
			err = servers.Poll(deadline(t), func(context.Context) error {
				for _, dir := range folders {
					if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
						return errors.New(dir + " is still there")
					}
					if cmdline := mentions(dir); cmdline != "" {
						return errors.New("still running: " + cmdline)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// mentions returns the command line of a process that works in dir or names it.
func mentions(dir string) string {
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		cmdline, _ := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		cwd, _ := os.Readlink("/proc/" + p.Name() + "/cwd")
		if strings.HasPrefix(cwd, dir) || strings.Contains(string(cmdline), dir) {
			return strings.ReplaceAll(string(cmdline), "\x00", " ")
		}
	}
	return ""
}
