package servers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Sidewire is the binary of this project, running from a configuration file of its own.
type Sidewire struct {
	*Process
	Admin string // address of the admin interface
	File  string // the configuration
}

// StartSidewire builds the binary, once a process, and runs it. The configuration is complete but for the admin
// address, which is added. It ends with the test.
func StartSidewire(t TB, config string) *Sidewire {
	t.Helper()
	return obtain(t, "sidewire", []Option{Private()}, func(f *Fleet, ctx context.Context, _ ...Option) (*Sidewire, error) {
		return f.Sidewire(ctx, config)
	})
}

// binary is built where the supervisor removes it.
var binary struct {
	once sync.Once
	path string
	err  error
}

// SidewireBinary builds cmd/sidewire of the module this one stands beside and returns its path.
func (f *Fleet) SidewireBinary() (string, error) {
	binary.once.Do(func() {
		binary.path, binary.err = buildSidewire(filepath.Join(f.root, "sidewire"))
	})
	return binary.path, binary.err
}

func buildSidewire(into string) (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the main module: %w", err)
	}
	// This module's folder lies in the main one's, where the binary is built with its own versions of what it depends on, as
	// `make build` does.
	build := exec.Command("go", "build", "-trimpath", "-tags=disable_pgv,grpcnotrace", "-ldflags=-s -w", "-o", into, "./cmd/sidewire")
	build.Dir = filepath.Dir(filepath.Dir(string(mod)))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sidewire: %w\n%s", err, out)
	}
	return into, nil
}

// Sidewire is StartSidewire for programs that are no tests.
func (f *Fleet) Sidewire(ctx context.Context, config string) (*Sidewire, error) {
	program, err := f.SidewireBinary()
	if err != nil {
		return nil, err
	}
	dir, err := f.folder("sidewire")
	if err != nil {
		return nil, err
	}
	port, err := f.Port()
	if err != nil {
		return nil, err
	}
	s := &Sidewire{Admin: local(port), File: filepath.Join(dir, "sidewire.yaml")}
	if err := s.Write(config); err != nil {
		return nil, err
	}
	s.Process = &Process{
		fleet: f, Name: filepath.Base(dir), Dir: dir, argv: []string{program, "run", "-c", s.File},
		ready: func(ctx context.Context) error {
			_, err := s.Get(ctx, "/ready")
			return err
		},
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return s, s.launch(ctx)
}

// Write replaces the configuration file at once, so that no half of it is ever read. The process sees it by itself.
func (s *Sidewire) Write(config string) error {
	config = fmt.Sprintf("admin: {address: %q, profiling: true}\n%s", s.Admin, config)
	if err := os.WriteFile(s.File+".new", []byte(config), 0o644); err != nil {
		return err
	}
	return os.Rename(s.File+".new", s.File)
}

// Reload asks the process to read its file now.
func (s *Sidewire) Reload() error { return s.Signal(syscall.SIGHUP) }

// Await waits until the admin interface's answer to path has want in it.
func (s *Sidewire) Await(ctx context.Context, path, want string) error {
	return Poll(ctx, func(ctx context.Context) error {
		body, err := s.Get(ctx, path)
		if err == nil && !strings.Contains(body, want) {
			err = fmt.Errorf("%s does not say %q", path, want)
		}
		return err
	})
}

// Get asks the admin interface; any answer but 200 is an error.
func (s *Sidewire) Get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+path, nil)
	if err != nil {
		return "", err
	}
	// No connection stays: a kept one would be a goroutine more in this process and a client more in that one.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("asking %s: %s: %s", path, resp.Status, body)
	}
	return string(body), err
}
