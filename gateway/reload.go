package gateway

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

// settle is how long files must be quiet before they are read: editors and config maps write in several steps. Somebody
// else's files in the same folder may never be quiet, so nothing waits longer than patience.
const (
	settle   = 100 * time.Millisecond
	patience = time.Second
)

// LoadFile reads, compiles and applies a configuration file. When anything is wrong with it, the configuration in force
// stays, and the rejected one is shown by Rejected.
func (g *Gateway) LoadFile(path string) []config.Problem {
	problems, _ := g.loadFile(path)
	return problems
}

// loadFile returns the files that were read as well, or were to be read, as they looked just before: a missing one may be
// the problem, and one that changes after it was read must be seen to have changed.
func (g *Gateway) loadFile(path string) (problems []config.Problem, read map[string]os.FileInfo) {
	env := config.SystemEnv(path)
	read = map[string]os.FileInfo{}
	env.ReadFile = func(name string) ([]byte, error) {
		read[name] = look(name)
		return os.ReadFile(name)
	}
	problems = g.compileFile(path, env)
	if len(problems) > 0 {
		g.Reject("file:"+path, problems)
	}
	return problems, read
}

func (g *Gateway) compileFile(path string, env *config.Env) []config.Problem {
	if text, err := env.ReadFile(path); err == nil && xds.IsBootstrap(text) {
		return g.loadBootstrap(path, text)
	}
	m, problems := g.language.Load(path, env)
	if len(problems) > 0 {
		return problems
	}
	g.override.apply(m)
	g.dir = filepath.Dir(path)
	if len(m.XDS.Servers) > 0 {
		return g.follow(m)
	}
	g.unfollow()
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
func (g *Gateway) WatchFile(ctx context.Context, path string, signals <-chan os.Signal) error {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer events.Close()
	w := &watch{g: g, path: path, events: events, folders: map[string]bool{}, timer: time.NewTimer(0)}
	defer w.timer.Stop()
	w.follow(map[string]os.FileInfo{path: nil}) // not looked at: it is read once more, now that nothing is missed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events.Events:
			w.soon()
		case err := <-events.Errors:
			g.log.Warn("watching configuration", "error", err)
			w.soon() // events may have been lost
		case <-signals:
			w.reload("signal")
		case <-w.timer.C:
			w.since = time.Time{}
			if w.changed() {
				w.reload("file")
			}
		}
	}
}

// watch follows the files of a configuration.
//
// Folders are watched, not files: a config map replaces a link beside them, and an editor replaces the file itself. What else
// happens in these folders does not matter, so after an event the files are looked at.
type watch struct {
	g       *Gateway
	path    string
	events  *fsnotify.Watcher
	folders map[string]bool
	files   map[string]os.FileInfo // as they looked when they were read; nil: there was none
	timer   *time.Timer
	since   time.Time // the first event that was not looked at yet; zero: none
}

// soon sees to it that the files are looked at when they have settled.
func (w *watch) soon() {
	now := time.Now()
	if w.since.IsZero() {
		w.since = now
	}
	w.timer.Reset(min(settle, max(0, w.since.Add(patience).Sub(now))))
}

// follow watches these files. A folder that was not watched before may have changed since its files were read.
func (w *watch) follow(files map[string]os.FileInfo) {
	w.files = files
	for f := range files {
		dir := filepath.Dir(f)
		if w.folders[dir] {
			continue
		}
		if err := w.events.Add(dir); err != nil {
			w.g.log.Warn("watching configuration", "folder", dir, "error", err)
			continue
		}
		w.folders[dir] = true
		w.soon()
	}
}

// changed tells whether a file looks different from when it was last read.
func (w *watch) changed() bool {
	for f, before := range w.files {
		now := look(f)
		if (now == nil) != (before == nil) || now != nil && !(os.SameFile(now, before) && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime())) {
			return true
		}
	}
	return false
}

// look is what a file looks like without reading it, links followed; nil when there is none.
func look(file string) os.FileInfo {
	info, err := os.Stat(file)
	if err != nil {
		return nil
	}
	return info
}

func (w *watch) reload(why string) {
	g, before := w.g, w.g.Snapshot()
	problems, files := g.loadFile(w.path)
	w.follow(files)
	for _, p := range problems {
		g.log.Error("configuration rejected", "file", w.path, "problem", p.String())
	}
	if now := g.Snapshot(); len(problems) == 0 && now != before {
		g.log.Info("configuration applied", "file", w.path, "version", now.Version, "trigger", why)
	}
}
