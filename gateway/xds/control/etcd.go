package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

const (
	// answering is how long one etcd server may take for an answer before the next one is asked.
	answering = 5 * time.Second
	// Between two rounds of attempts to watch, doubling and jittered.
	shortestPause, longestPause = 100 * time.Millisecond, 5 * time.Second
)

// EtcdOptions are how etcd is reached and what of it is read.
type EtcdOptions struct {
	Endpoints      []string    // host:port, asked in their order
	Prefix         string      // keys under PREFIX/ are files: PREFIX/NAME.yaml is for all sidecars, PREFIX/GROUP/NAME.yaml for one group
	TLS            *tls.Config // nil: plain
	User, Password string      // empty: etcd without authentication
	Log            *slog.Logger
}

// etcd reads keys of an etcd cluster as a folder's files. It speaks three calls of its API: Authenticate, Range and Watch.
type etcd struct {
	options EtcdOptions
	prefix  string // ends in a slash
	end     string // the first key behind those with the prefix

	next int              // index of the endpoint in use
	conn *grpc.ClientConn // nil: to be made
	// Of the last reading: the watch begins behind its revision.
	seen *etcdserverpb.ResponseHeader
}

// Etcd is the keys under a prefix, read at one revision and watched from it.
func Etcd(o EtcdOptions) Source {
	prefix := strings.TrimRight(o.Prefix, "/")
	return &etcd{options: o, prefix: prefix + "/", end: prefix + string(rune('/'+1))}
}

// read asks the endpoints in turn, beginning with the one in use.
func (e *etcd) read(ctx context.Context) (content, error) {
	var errs []error
	for range e.options.Endpoints {
		c, err := e.fetch(ctx)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("reading etcd at %s: %w", e.endpoint(), err))
		e.leave()
	}
	return nil, errors.Join(errs...)
}

func (e *etcd) endpoint() string { return e.options.Endpoints[e.next] }

// leave gives up the connection; the next one goes to the next endpoint.
func (e *etcd) leave() {
	e.close()
	e.next = (e.next + 1) % len(e.options.Endpoints)
}

func (e *etcd) close() {
	if e.conn != nil {
		e.conn.Close()
		e.conn = nil
	}
}

// fetch reads all keys in one request, which is answered from one revision by a majority of the cluster.
func (e *etcd) fetch(ctx context.Context) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	ctx, err := e.session(ctx)
	if err != nil {
		return nil, err
	}
	r, err := etcdserverpb.NewKVClient(e.conn).Range(ctx, &etcdserverpb.RangeRequest{Key: []byte(e.prefix), RangeEnd: []byte(e.end)})
	if err != nil {
		return nil, err
	}
	k := keys{prefix: e.prefix, values: make(map[string][]byte, len(r.Kvs))}
	for _, kv := range r.Kvs {
		k.values[string(kv.Key)] = kv.Value
	}
	e.seen = r.Header
	return k, nil
}

// session connects where there is no connection and, with a user, authenticates. Each time, because tokens expire while
// nothing happens; changes are rare.
func (e *etcd) session(ctx context.Context) (context.Context, error) {
	if e.conn == nil {
		conn, err := xds.Dial(e.endpoint(), e.options.TLS)
		if err != nil {
			return nil, err
		}
		e.conn = conn
	}
	// A server that has lost its cluster ends a watch that asks for a leader, instead of keeping quiet.
	ctx = metadata.AppendToOutgoingContext(ctx, "hasleader", "true")
	if e.options.User == "" {
		return ctx, nil
	}
	short, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	r, err := etcdserverpb.NewAuthClient(e.conn).Authenticate(short, &etcdserverpb.AuthenticateRequest{Name: e.options.User, Password: e.options.Password})
	if err != nil {
		return nil, fmt.Errorf("authenticating as %s: %w", e.options.User, err)
	}
	return metadata.AppendToOutgoingContext(ctx, "token", r.Token), nil
}

func (e *etcd) watch(ctx context.Context, load func(context.Context) error) error {
	pause, tried := shortestPause, 0
	for {
		begun, err := e.follow(ctx, load)
		if ctx.Err() != nil {
			return nil
		}
		e.options.Log.Warn("watching etcd; the last good content is served", "endpoint", e.endpoint(), "error", err)
		e.leave()
		if tried++; begun {
			pause, tried = shortestPause, 0
		} else if tried%len(e.options.Endpoints) != 0 {
			continue // the others have not been asked yet
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, longestPause)
	}
}

// follow watches on one stream until something ends it, which is always an error; begun tells whether the watch ever stood.
func (e *etcd) follow(ctx context.Context, load func(context.Context) error) (begun bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	responses, ended := make(chan *etcdserverpb.WatchResponse), make(chan error, 1)
	stream, err := e.open(ctx)
	if err != nil {
		cancel()
		return false, err
	}
	go func() { ended <- receive(ctx, stream, responses) }()
	defer func() {
		cancel()
		<-ended
	}()
	burst := xds.NewSettling(quiet, longest)
	defer burst.Stop()
	late := time.NewTimer(answering)
	defer late.Stop()
	for {
		select {
		case err := <-ended:
			ended <- err // which whoever leaves waits for
			return begun, err
		case <-late.C:
			return begun, errors.New("creating a watch: no answer")
		case r := <-responses:
			late.Stop()
			if gap := e.gap(r); gap != nil {
				// What happened in between cannot be had any more, what is now can.
				return begun, errors.Join(gap, load(ctx))
			}
			if r.Canceled {
				return begun, fmt.Errorf("watching %s: %s", e.prefix, r.CancelReason)
			}
			begun = true
			if len(r.Events) > 0 {
				burst.Touch(time.Now())
			}
		case <-burst.Over():
			burst.Ended()
			if err := load(ctx); err != nil {
				return begun, err
			}
		}
	}
}

// open asks for a watch from behind what was read, so that nothing is missed in between, be it a second or a day.
func (e *etcd) open(ctx context.Context) (etcdserverpb.Watch_WatchClient, error) {
	ctx, err := e.session(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := etcdserverpb.NewWatchClient(e.conn).Watch(ctx)
	if err != nil {
		return nil, err
	}
	create := &etcdserverpb.WatchCreateRequest{Key: []byte(e.prefix), RangeEnd: []byte(e.end), StartRevision: e.seen.GetRevision() + 1}
	return stream, stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: create}})
}

func receive(ctx context.Context, stream etcdserverpb.Watch_WatchClient, to chan<- *etcdserverpb.WatchResponse) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gap tells why a watch does not continue what was read: its history was compacted away, or the store is another one or has
// been restored, so that the revision asked for may be far in its future.
func (e *etcd) gap(r *etcdserverpb.WatchResponse) error {
	switch h := r.GetHeader(); {
	case r.CompactRevision > 0:
		return fmt.Errorf("revision %d was compacted away (%d is the oldest)", e.seen.GetRevision()+1, r.CompactRevision)
	case r.Created && !r.Canceled && h.GetClusterId() != e.seen.GetClusterId():
		return errors.New("this is another cluster than before")
	case r.Created && !r.Canceled && h.GetRevision() < e.seen.GetRevision():
		return fmt.Errorf("the store is at revision %d and was at %d before", h.GetRevision(), e.seen.GetRevision())
	}
	return nil
}

// keys are the keys under a prefix at one revision.
type keys struct {
	prefix string
	values map[string][]byte
}

func (k keys) read(path string) ([]byte, error) {
	value, ok := k.values[path]
	if !ok {
		return nil, fmt.Errorf("reading key %s: %w", path, fs.ErrNotExist)
	}
	return value, nil
}

// list takes keys as a folder's files. Unlike there nobody but sidewire has a use for them, so that a key that would not be
// read is a mistake.
func (k keys) list(folder string) (paths, folders []string, problems []config.Problem) {
	for _, key := range slices.Sorted(maps.Keys(k.values)) {
		group, name, inside := strings.Cut(strings.TrimPrefix(key, k.prefix), "/")
		if !inside {
			group, name = "", group
		}
		if inside && group != "" && folder == "" && !slices.Contains(folders, group) {
			folders = append(folders, group)
		}
		switch {
		case group != folder:
		case strings.Contains(name, "/") || inside && group == "" || !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml"):
			problems = append(problems, config.Path(key).Problem("this key is not read; expected %sNAME.yaml or %sGROUP/NAME.yaml", k.prefix, k.prefix))
		case isFile(name):
			paths = append(paths, key)
		}
	}
	return paths, folders, problems
}
