package xds_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/certify"
	sideredis "github.com/sidewire/sidewire/gateway/redis"
	"github.com/sidewire/sidewire/gateway/tcp"
	"github.com/sidewire/sidewire/gateway/xds"
	"github.com/sidewire/sidewire/gateway/xds/control"
	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// operator writes into an etcd that only root may write to and "mesh" may read.
type operator struct {
	t    *testing.T
	conn *grpc.ClientConn
	ctx  context.Context
}

func must[R any](t *testing.T, what string) func(R, error) R {
	return func(r R, err error) R {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return r
	}
}

// newOperator gives the store its users, and turns authentication on.
func newOperator(t *testing.T, address string, secure *tls.Config) *operator {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	conn := must[*grpc.ClientConn](t, "dialling")(xds.Dial(address, secure))
	closing(t, conn)
	auth := etcdserverpb.NewAuthClient(conn)
	for name, role := range map[string]string{"root": "root", "mesh": "reader"} {
		must[*etcdserverpb.AuthUserAddResponse](t, name)(auth.UserAdd(ctx, &etcdserverpb.AuthUserAddRequest{Name: name, Password: name + "-pw"}))
		must[*etcdserverpb.AuthRoleAddResponse](t, role)(auth.RoleAdd(ctx, &etcdserverpb.AuthRoleAddRequest{Name: role}))
		must[*etcdserverpb.AuthUserGrantRoleResponse](t, role)(auth.UserGrantRole(ctx, &etcdserverpb.AuthUserGrantRoleRequest{User: name, Role: role}))
	}
	read := &authpb.Permission{PermType: authpb.Permission_READ, Key: []byte("/mesh/"), RangeEnd: []byte("/mesh0")}
	must[*etcdserverpb.AuthRoleGrantPermissionResponse](t, "granting")(auth.RoleGrantPermission(ctx, &etcdserverpb.AuthRoleGrantPermissionRequest{Name: "reader", Perm: read}))
	must[*etcdserverpb.AuthEnableResponse](t, "enabling authentication")(auth.AuthEnable(ctx, &etcdserverpb.AuthEnableRequest{}))
	return &operator{t, conn, ctx}
}

// put tries again while the server starts.
func (o *operator) put(key, value string) {
	o.t.Helper()
	err := servers.Poll(o.ctx, func(ctx context.Context) error {
		r, err := etcdserverpb.NewAuthClient(o.conn).Authenticate(ctx, &etcdserverpb.AuthenticateRequest{Name: "root", Password: "root-pw"})
		if err != nil {
			return err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "token", r.Token)
		_, err = etcdserverpb.NewKVClient(o.conn).Put(ctx, &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value)})
		return err
	})
	if err != nil {
		o.t.Fatalf("writing %s: %v", key, err)
	}
}

// serveEtcd runs a control plane fed by etcd, as `sidewire control` does.
func serveEtcd(t *testing.T, o control.EtcdOptions) (address string) {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, problems := control.New(t.Context(), control.Options{Source: control.Etcd(o), Language: gateway.Language(tcp.Protocol(), sideredis.Protocol()), Log: o.Log})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l := must[net.Listener](t, "listening")(net.Listen("tcp", "127.0.0.1:0"))
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestEtcd feeds a sidecar from a real etcd with TLS on both sides and users, and restarts that etcd.
func TestEtcd(t *testing.T) {
	leak.Check(t)
	dir := t.TempDir()
	ca := certify.New(t)
	cert, key := ca.Issue(dir, "node")
	// The server runs as whoever the tests run as, in a folder of its own.
	etcd := servers.Etcd(t, servers.Private(), servers.Args("--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca.CA(dir), "--client-cert-auth"))
	pair := must[tls.Certificate](t, "loading the certificate")(tls.LoadX509KeyPair(cert, key))
	secure := &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}}
	o := newOperator(t, etcd.Addr, secure)
	at := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
	server := echo(t)
	content := func(limit int) string {
		return fmt.Sprintf("listeners: [{name: relay, address: %q, tcp: {cluster: echo}, limits: {connections: %d}}]\nclusters: [{name: echo, tcp: {}, endpoints: [%q]}]\n", at, limit, server)
	}
	o.put("/mesh/common.yaml", content(10))
	plane := serveEtcd(t, control.EtcdOptions{Endpoints: []string{etcd.Addr}, Prefix: "/mesh", TLS: secure, User: "mesh", Password: "mesh-pw"})
	file := filepath.Join(t.TempDir(), "sidewire.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "node: {id: n}\nadmin: {address: \"\"}\nxds: {servers: [{address: %q}]}\n", plane), 0o600); err != nil {
		t.Fatal(err)
	}
	g := fromFile(t, file)
	served := func(limit int) {
		t.Helper()
		err := servers.Poll(o.ctx, func(context.Context) error {
			if l := g.Snapshot().Listener("relay"); l == nil || l.Limits.Connections != limit {
				return fmt.Errorf("listener %+v, want limit %d", l, limit)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	served(10)
	conn := must[net.Conn](t, "connecting")(net.DialTimeout("tcp", at, patience))
	defer conn.Close()
	line := func() {
		t.Helper()
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "line\n"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "line\n" {
			t.Fatalf("relayed %q, %v", got, err)
		}
	}
	line()
	o.put("/mesh/broken.yaml", "listeners: [{name: relay")
	o.put("/mesh/broken.yaml", "{}")
	o.put("/mesh/common.yaml", content(11))
	served(11)
	if err := etcd.Restart(); err != nil {
		t.Fatal(err)
	}
	o.put("/mesh/common.yaml", content(12))
	served(12)
	line()
}
