// Package control is a small control plane: it serves sidewire's own files, from a folder or from etcd, over xDS to many sidecars.
package control

import (
	"context"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

const (
	// quiet is how long a source must be quiet before it is read: editors, config maps and scripts write in several steps.
	quiet = 100 * time.Millisecond
	// longest is how long a source that is never quiet can put off being read.
	longest = time.Second
)

// Source is where a control plane's content comes from. One goroutine at a time uses it.
type Source interface {
	// read is the content as it is now, as a whole. An error means that it could not be had.
	read(context.Context) (content, error)
	// watch calls load whenever the content may have changed since it was read, until ctx is done. What load could not read
	// is tried again.
	watch(ctx context.Context, load func(context.Context) error) error
	close()
}

// content is what a source held at one moment: files, and folders of files.
type content interface {
	// list names the configuration files and the folders of a folder, sorted; the empty name is the root.
	list(folder string) (paths, folders []string, problems []config.Problem)
	// read reads a file by its path; one that is not there is an fs.ErrNotExist.
	read(path string) ([]byte, error)
}
