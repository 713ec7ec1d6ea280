package gateway

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sidewire/sidewire/gateway/config"
)

// settle is how long files must be quiet before they are read: editors and config maps write in several steps.
const settle = 100 * time.Millisecond

// LoadFile reads, compiles and applies a configuration file. When anything is wrong with it, the configuration in force
// stays, and the rejected one is shown by Rejected.
func (g *Gateway) LoadFile(path string) []config.Problem {
	problems := g.loadFile(path)
	if len(problems) > 0 {
		g.Reject("file:"+path, problems)
	}
	return problems
}

func (g *Gateway) loadFile(path string) []config.Problem {
	m, problems := g.language.Load(path, config.SystemEnv(path))
	if len(problems) > 0 {
		return problems
	}
	s, problems := g.language.Compile(m, g.Snapshot())
	if len(problems) > 0 {
		return problems
	}
	if old := g.Snapshot(); old != nil && old.Version == s.Version {
		g.rejected.Store(nil)
		return nil
	}
	return g.Apply(s)
}

// WatchFile reloads the file when it, or a file that it names, changes, and at every signal. It returns when ctx is done.
//
// Folders are watched, not files: a config map replaces a link beside them, and an editor replaces the file itself.
func (g *Gateway) WatchFile(ctx context.Context, path string, signals <-chan os.Signal) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	watched := map[string]bool{}
	follow := func() {
		files := []string{path}
		if s := g.Snapshot(); s != nil {
			files = append(files, s.Files...)
		}
		for _, f := range files {
			dir := filepath.Dir(f)
			if watched[dir] {
				continue
			}
			if err := w.Add(dir); err != nil {
				g.log.Warn("watching configuration", "folder", dir, "error", err)
				continue
			}
			watched[dir] = true
		}
	}
	follow()
	quiet := time.NewTimer(settle)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			quiet.Reset(settle)
		case err := <-w.Errors:
			g.log.Warn("watching configuration", "error", err)
		case <-signals:
			g.reload(path, "signal")
			follow()
		case <-quiet.C:
			g.reload(path, "file")
			follow()
		}
	}
}

func (g *Gateway) reload(path, why string) {
	before := g.Snapshot()
	problems := g.LoadFile(path)
	for _, p := range problems {
		g.log.Error("configuration rejected", "file", path, "problem", p.String())
	}
	if now := g.Snapshot(); len(problems) == 0 && now != before {
		g.log.Info("configuration applied", "file", path, "version", now.Version, "trigger", why)
	}
}
