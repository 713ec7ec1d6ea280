package xds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/fsnotify/fsnotify"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// filesQuiet is how long files must be quiet before they are read, filesLate how long that can be put off.
const filesQuiet, filesLate = 50 * time.Millisecond, time.Second

// FileSource is a file that holds a DiscoveryResponse: every resource of its type that there is to have from it.
type FileSource struct {
	TypeURL string
	Path    string
}

// files are the sources that are read, each with what it gave last.
type files struct {
	from  map[FileSource]*kind
	watch *fsnotify.Watcher // nil: files are read once
	dirty chan struct{}     // something in a watched folder changed
}

// readResponse reads a file in the form that its name's ending says.
func readResponse(path string) (*discoveryv3.DiscoveryResponse, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(text) > maxMessage {
		return nil, fmt.Errorf("file has %d bytes, at most %d are taken", len(text), maxMessage)
	}
	var m discoveryv3.DiscoveryResponse
	switch filepath.Ext(path) {
	case ".pb":
		err = proto.Unmarshal(text, &m)
	case ".json":
		err = protojson.Unmarshal(text, &m)
	case ".yaml", ".yml":
		var t tree
		if t, err = parseYAML(text); err != nil {
			return nil, err
		}
		if text, err = json.Marshal(t); err != nil {
			return nil, err
		}
		err = protojson.Unmarshal(text, &m)
	default:
		return nil, fmt.Errorf("%q is none of .yaml, .yml, .json and .pb", filepath.Ext(path))
	}
	if err != nil {
		return nil, fmt.Errorf("reading DiscoveryResponse: %w", err)
	}
	return &m, nil
}

// loadFiles reads every source that is wanted now. What is wrong leaves what was there before in its place; there is nobody to
// tell but the log and the figures.
func (c *Client) loadFiles() {
	for round := 0; ; round++ { // a file of clusters may name files of endpoints
		fresh := 0
		for source := range c.store.files {
			if c.files.from[source] == nil {
				c.files.from[source] = &kind{url: source.TypeURL, wildcard: true, wanted: make(map[string]bool), held: make(map[string]*held)}
				c.watchFile(source.Path)
				fresh++
			}
		}
		maps.DeleteFunc(c.files.from, func(s FileSource, _ *kind) bool { return !c.store.files[s] })
		if round > 0 && fresh == 0 {
			return
		}
		sources := slices.Collect(maps.Keys(c.files.from))
		slices.SortFunc(sources, func(a, b FileSource) int {
			return slices.Index(order, a.TypeURL) - slices.Index(order, b.TypeURL)
		})
		for _, source := range sources {
			if err := c.loadFile(source); err != nil {
				c.options.Log.Error("resources rejected", "file", source.Path, "problems", err.Error())
			}
		}
	}
}

func (c *Client) loadFile(source FileSource) error {
	r, err := readResponse(source.Path)
	if err != nil {
		c.invalid[source.TypeURL].Inc()
		return err
	}
	k := c.files.from[source]
	b := newBatch(k, c.options.Now())
	for i, body := range r.Resources {
		b.add(i, "", r.VersionInfo, body, 0, false)
	}
	b.changed = slices.DeleteFunc(b.changed, func(r Resource) bool { return c.store.same(source.TypeURL, r) })
	wrong := b.apply(c.store, c.engine.absent(k, b))
	c.valid[source.TypeURL].Add(int64(len(b.changed)))
	if wrong != nil {
		c.invalid[source.TypeURL].Add(int64(len(b.order)))
		return errors.New(wrong.Message)
	}
	return nil
}

// watchFile watches the file's folder: what is moved into its place is another file of the same name.
func (c *Client) watchFile(path string) {
	if c.files.watch == nil {
		return
	}
	if err := c.files.watch.Add(filepath.Dir(path)); err != nil {
		c.options.Log.Error("watching file of resources; it is read once", "file", path, "error", err)
	}
}

// watchFiles begins to watch, until ctx is done.
func (c *Client) watchFiles(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		c.options.Log.Error("watching files of resources; they are read once", "error", err)
		return
	}
	c.files.watch = w
	for source := range c.files.from {
		c.watchFile(source.Path)
	}
	c.ends.Go(func() {
		defer w.Close()
		burst := NewSettling(filesQuiet, filesLate)
		defer burst.Stop()
		burst.Touch(time.Now()) // a file may have changed before it was watched
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.Events:
				burst.Touch(time.Now())
			case err := <-w.Errors:
				c.options.Log.Warn("watching files of resources", "error", err)
			case <-burst.Over():
				burst.Ended()
				select {
				case c.files.dirty <- struct{}{}:
				default:
				}
			}
		}
	})
}
