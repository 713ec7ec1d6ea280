package servers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
)

// EtcdServer is a running etcd of one member.
type EtcdServer struct {
	*Process
	Addr string // 127.0.0.1:PORT

	health string // where it tells in plain HTTP whether it serves
}

// Etcd starts one etcd. With certificates among its Args it speaks TLS.
func Etcd(t TB, opts ...Option) *EtcdServer {
	t.Helper()
	return obtain(t, "etcd", opts, (*Fleet).Etcd)
}

// Etcd is Etcd for programs that are no tests.
func (f *Fleet) Etcd(ctx context.Context, opts ...Option) (*EtcdServer, error) {
	o := collect(opts)
	program, err := find("etcd", "etcd")
	if err != nil {
		return nil, err
	}
	dir, err := f.folder("etcd")
	if err != nil {
		return nil, err
	}
	port, err := f.PortRange(3)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if strings.Contains(o.args, "--cert-file") {
		scheme = "https"
	}
	s := &EtcdServer{Addr: local(port), health: "http://" + local(port+2)}
	client, peer := scheme+"://"+s.Addr, "http://"+local(port+1)
	argv := append([]string{
		program, "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer, "--listen-metrics-urls", s.health,
	}, o.argv...)
	s.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: argv, ready: s.ask}
	return s, s.launch(ctx)
}

func (s *EtcdServer) ask(ctx context.Context) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.health+"/health", nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("health: %s %s", r.Status, body)
	}
	return err
}
