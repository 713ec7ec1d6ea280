package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/database"
	"github.com/sidewire/sidewire/sharding/keygen"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/value"
)

// worker makes generated keys under a worker id that no other sidecar has: it holds a named lock (GET_LOCK) on the server
// of the default data source, which every sidecar of the database asks. Names and addresses alone cannot tell sidecars
// apart in ten bits. Before each key it looks whether the lock's connection still stands; a new one claims anew.
type worker struct {
	// Fixed at creation.
	m     *handler
	at    database.Source
	first int // the id that is tried first

	mu       sync.Mutex // guards what follows; held while an id is claimed
	held     *backend   // the connection that holds the lock; nil: none
	endpoint *cluster.Endpoint
	id       int
	source   *keygen.Source
}

// worker is the one for the keys of a virtual database. Reloads keep it.
func (m *handler) worker(d *database.Database) *worker {
	at := d.Sources[d.Rules.Targets[d.Rules.Default].Write.Name]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.workers == nil {
		m.workers = map[database.Source]*worker{}
	}
	w := m.workers[at]
	if w == nil {
		w = &worker{m: m, at: at, first: firstWorker()}
		m.workers[at] = w
	}
	return w
}

// firstWorker is the id that a process prefers: sidecars that begin at different ones seldom ask for a taken one, and an id
// is seldom taken over from a sidecar whose clock was ahead.
func firstWorker() int {
	n, err := keygen.Seed(rand.Reader)
	if err != nil {
		return 0
	}
	return n
}

// NextKey makes the next key of a rule's generator.
func (w *worker) NextKey(k *rule.Key) (value.Value, error) {
	if k.Type != "SNOWFLAKE" || k.Props["worker-id"] != "" {
		return w.m.keys.NextKey(k)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil || w.endpoint.Role() == cluster.Replica || !w.held.quiet(time.Time{}) {
		if err := w.claim(); err != nil {
			return value.Value{}, fmt.Errorf("claiming a worker id: %w; or set the generator's worker-id, another for each sidecar", err)
		}
	}
	return w.source.NextKey(k)
}

func (w *worker) claim() error {
	w.drop()
	u, _ := w.m.host.Upstream(w.at.Cluster).(*upstream)
	if u == nil {
		return cluster.ErrClosed
	}
	e, err := u.pick(cluster.Primary)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.m.life, learnTimeout)
	defer cancel()
	b, err := u.control(ctx, e, nil)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, b.conn.Interrupt)
	id, err := w.lock(b)
	if !stop() {
		err = errors.Join(err, context.Cause(ctx))
	}
	if err != nil {
		b.close()
		return err
	}
	if id != w.id || w.source == nil { // the same one goes on where it was
		w.id, w.source = id, keygen.New(id, time.Now, pause, rand.Reader)
	}
	w.held, w.endpoint = b, e
	w.m.host.Log().Info("worker id claimed", "listener", w.m.name, "database", w.at.Database, "worker", id)
	return nil
}

// lock takes the first free worker id, beginning with the last one or the preferred one.
func (w *worker) lock(b *backend) (int, error) {
	first := w.first
	if w.source != nil {
		first = w.id
	}
	h := fnv.New64a()
	h.Write([]byte(w.at.Database))
	if _, err := b.query("SET SESSION wait_timeout=2147483"); err != nil { // the most that every system takes
		return 0, err
	}
	for i := range keygen.MaxWorker + 1 {
		id := (first + i) & keygen.MaxWorker
		rows, err := b.query(fmt.Sprintf("SELECT GET_LOCK('sidewire.worker.%016x.%d', 0)", h.Sum64(), id))
		if err != nil {
			return 0, err
		}
		if len(rows) == 1 && len(rows[0]) == 1 && rows[0][0] == "1" {
			return id, nil
		}
	}
	return 0, fmt.Errorf("all %d are taken", keygen.MaxWorker+1)
}

func (w *worker) drop() {
	if w.held != nil {
		w.held.close()
		w.held = nil
	}
}

// dropWorkers gives the worker ids back.
func (m *handler) dropWorkers() {
	m.mu.Lock()
	all := m.workers
	m.workers = nil
	m.mu.Unlock()
	for _, w := range all {
		w.mu.Lock()
		w.drop()
		w.mu.Unlock()
	}
}
