//go:build !linux

package socket

// Watcher tells sessions that their client hung up. Here it watches nothing: a hang-up shows at the next read or write.
type Watcher struct{}

// NewWatcher returns a watcher.
func NewWatcher() (*Watcher, error) { return &Watcher{}, nil }

// Close ends the watcher.
func (*Watcher) Close() error { return nil }

// Watch does nothing here.
func (*Watcher) Watch(*Conn, func()) (stop func(), err error) { return func() {}, nil }
