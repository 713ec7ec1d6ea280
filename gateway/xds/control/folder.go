package control

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

// folder is a folder of the file system.
type folder struct {
	dir string
	log *slog.Logger
}

// Folder is a folder with configuration files and with folders of them.
func Folder(dir string, log *slog.Logger) Source { return folder{dir, log} }

func (f folder) read(context.Context) (content, error) { return files(f.dir), nil }

func (f folder) close() {}

// files are what a folder holds.
type files string

func (f files) read(path string) ([]byte, error) { return os.ReadFile(path) }

// list leaves alone hidden files and the rule files that others name (*.sharding.yaml).
func (f files) list(name string) (paths, folders []string, problems []config.Problem) {
	dir := filepath.Join(string(f), name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, []config.Problem{config.Path(dir).Problem("%v", err)}
	}
	for _, e := range entries {
		name := e.Name()
		info, err := os.Stat(filepath.Join(dir, name)) // through links, which is how config maps appear
		switch {
		case strings.HasPrefix(name, "."):
		case err != nil:
			problems = append(problems, config.Path(filepath.Join(dir, name)).Problem("%v", err))
		case info.IsDir():
			folders = append(folders, name)
		case isFile(name):
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, folders, problems
}

// isFile tells whether a file of that name is read by itself.
func isFile(name string) bool {
	return !strings.HasSuffix(name, ".sharding.yaml") && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"))
}

func (f folder) watch(ctx context.Context, load func(context.Context) error) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching folder: %w", err)
	}
	defer w.Close()
	if err := f.follow(w); err != nil {
		return err
	}
	burst := xds.NewSettling(quiet, longest)
	defer burst.Stop()
	burst.Touch(time.Now()) // something may have changed since it was first read
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			burst.Touch(time.Now())
		case err := <-w.Errors:
			f.log.Warn("watching folder", "error", err)
		case <-burst.Over():
			burst.Ended()
			if err := load(ctx); err != nil {
				return err
			}
			if err := f.follow(w); err != nil {
				f.log.Warn("watching folder", "error", err)
			}
		}
	}
}

// follow watches the folder and those inside it.
func (f folder) follow(w *fsnotify.Watcher) error {
	if err := w.Add(f.dir); err != nil {
		return fmt.Errorf("watching folder: %w", err)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("watching folder: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := w.Add(filepath.Join(f.dir, e.Name())); err != nil {
				return fmt.Errorf("watching folder: %w", err)
			}
		}
	}
	return nil
}
