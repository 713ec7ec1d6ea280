package listener

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"go.uber.org/goleak"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// porter tells every client its address, and keeps it until it leaves.
type porter struct{}

func (porter) Update(*config.Listener) error { return nil }
func (porter) Drain(context.Context)         {}
func (porter) Close()                        {}
func (porter) Refuse(c *Conn, why error)     { fmt.Fprintf(c, "no: %v\n", why) }
func (porter) Handle(_ context.Context, c *Conn) {
	defer c.Close()
	fmt.Fprintf(c, "you are %s\n", c.Client())
	_, _ = io.Copy(c, c)
}

func serve(t *testing.T, edit func(*config.Listener)) string {
	t.Helper()
	return open(t, porter{}, edit).Addr().String()
}

// visit sends hello and returns everything until the answer's first line ends.
func visit(t *testing.T, address, hello string) (net.Conn, string) {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, hello)
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); {
		if _, err := c.Read(b); err != nil {
			break
		}
		line = append(line, b...)
	}
	return c, string(line)
}

func networks(t *testing.T, texts ...string) []config.Network {
	t.Helper()
	var out []config.Network
	for _, s := range texts {
		out = append(out, config.Network{Prefix: netip.MustParsePrefix(s)})
	}
	return out
}

func TestLimitPerSource(t *testing.T) {
	address := serve(t, func(c *config.Listener) { c.Limits.PerSource = 2 })
	first, _ := visit(t, address, "")
	visit(t, address, "")
	if _, got := visit(t, address, ""); got != "no: too many connections from one address\n" {
		t.Fatalf("the third got %q", got)
	}
	first.Close()
	for deadline := time.Now().Add(patience); ; {
		if _, got := visit(t, address, ""); strings.HasPrefix(got, "you are") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed connection still counts")
		}
	}
}

// A listener may have several sockets, as Kafka's have one a broker: its gauge is of all of them.
func TestConnectionsOfAllSockets(t *testing.T) {
	metrics := telemetry.NewRegistry()
	gauge := metrics.Gauge("sidewire_listener_connections", "Client connections now open.", "listener", "door")
	one := openIn(t, metrics, porter{}, func(*config.Listener) {}).Addr().String()
	two := openIn(t, metrics, porter{}, func(*config.Listener) {}).Addr().String()
	visit(t, one, "")
	visit(t, two, "")
	last, _ := visit(t, two, "")
	if n := gauge.Value(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	last.Close()
	for deadline := time.Now().Add(patience); gauge.Value() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, want 2", gauge.Value())
		}
	}
}

func TestRateOfNewConnections(t *testing.T) {
	address := serve(t, func(c *config.Listener) { c.Limits.Rate, c.Limits.Burst = 0.001, 2 })
	visit(t, address, "")
	visit(t, address, "")
	if _, got := visit(t, address, ""); got != "no: too many new connections per second\n" {
		t.Fatalf("the third got %q", got)
	}
}

func TestAllowAndDeny(t *testing.T) {
	for _, c := range []struct {
		allow, deny []string
		in          bool
	}{
		{nil, nil, true},
		{[]string{"127.0.0.0/8"}, nil, true},
		{[]string{"10.0.0.0/8"}, nil, false},
		{nil, []string{"127.0.0.1/32"}, false},
		{[]string{"127.0.0.0/8"}, []string{"127.0.0.1/32"}, false},
	} {
		address := serve(t, func(l *config.Listener) { l.Allow, l.Deny = networks(t, c.allow...), networks(t, c.deny...) })
		if _, got := visit(t, address, ""); (got != "") != c.in || strings.HasPrefix(got, "no") {
			t.Errorf("allow %v, deny %v: got %q", c.allow, c.deny, got)
		}
	}
}

func TestProxyHeaderOfTrustedPeers(t *testing.T) {
	v2 := func(command proxyproto.ProtocolVersionAndCommand) string {
		h := &proxyproto.Header{Version: 2, Command: command, TransportProtocol: proxyproto.TCPv4,
			SourceAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 77}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 8), Port: 88}}
		b, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct{ name, hello, want string }{
		{"v1", "PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n", "you are 192.0.2.7:77\n"},
		{"v1 for IPv6", "PROXY TCP6 2001:db8::7 2001:db8::8 77 88\r\n", "you are [2001:db8::7]:77\n"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "you are 127.0.0.1:"},
		{"v2", v2(proxyproto.PROXY), "you are 192.0.2.7:77\n"},
		{"v2 local", v2(proxyproto.LOCAL), "you are 127.0.0.1:"},
		{"none", "GET / HTTP/1.1\r\n\r\n", ""},
		{"half", "PROXY TCP4 19", ""},
		{"endless line", "PROXY TCP4 " + strings.Repeat("1", 200), ""},
		{"giant v2", string(signatureV2) + "\x21\x11\xff\xff", ""},
	} {
		address := serve(t, func(l *config.Listener) { l.Proxy.Trusted = networks(t, "127.0.0.0/8") })
		if c.name == "half" { // the end of the connection, not patience, ends the wait
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, c.hello)
			conn.(*net.TCPConn).CloseWrite()
			conn.SetDeadline(time.Now().Add(patience))
			if b, _ := io.ReadAll(conn); len(b) != 0 {
				t.Errorf("%s: got %q", c.name, b)
			}
			conn.Close()
			continue
		}
		conn, got := visit(t, address, c.hello+"behind")
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if c.want != "" {
			rest := make([]byte, len("behind"))
			if _, err := io.ReadFull(conn, rest); err != nil || string(rest) != "behind" {
				t.Errorf("%s: the bytes behind the header arrive as %q, %v", c.name, rest, err)
			}
		}
	}
}

func TestProxyHeaderOfOthersIsNotBelieved(t *testing.T) {
	address := serve(t, func(l *config.Listener) { l.Proxy.Trusted = networks(t, "10.0.0.0/8") })
	if _, got := visit(t, address, "PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n"); !strings.HasPrefix(got, "you are 127.0.0.1:") {
		t.Fatalf("got %q", got)
	}
}

func TestAllowLooksAtTheProxiedAddress(t *testing.T) {
	address := serve(t, func(l *config.Listener) {
		l.Proxy.Trusted, l.Deny = networks(t, "127.0.0.0/8"), networks(t, "192.0.2.0/24")
	})
	if _, got := visit(t, address, "PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n"); got != "" {
		t.Fatalf("got %q", got)
	}
}

func TestUnixSocketModeAndOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	address := serve(t, func(l *config.Listener) {
		l.Address, l.Unix.Mode, l.Unix.Owner = "unix:"+path, 0o600, fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("permissions are %v, %v", info.Mode(), err)
	}
	if _, got := visit(t, address, ""); got != "you are unix\n" {
		t.Fatalf("got %q", got)
	}
	if _, err := Bind("unix:"+path, config.UnixSocket{}); err == nil || err.Error() != "binding unix:"+path+": another process serves this socket" {
		t.Fatalf("error is %v", err)
	}
	if _, err := Bind("unix:"+filepath.Join(t.TempDir(), "s"), config.UnixSocket{Owner: "nobody-has-this-name"}); err == nil {
		t.Fatal("an unknown owner was taken")
	}
}

func TestStaleSocketIsReplacedAFileIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	fresh, err := Bind("unix:"+path, config.UnixSocket{})
	if err != nil {
		t.Fatal(err)
	}
	fresh.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Bind("unix:"+path, config.UnixSocket{}); err == nil || !strings.HasSuffix(err.Error(), "the path exists and is not a socket") {
		t.Fatalf("error is %v", err)
	}
}

func TestBindErrorSaysWhoHoldsThePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Bind(l.Addr().String(), config.UnixSocket{})
	want := fmt.Sprintf("binding %s: bind: address already in use by this process", l.Addr())
	if err == nil || err.Error() != want {
		t.Fatalf("error is %v, want %s", err, want)
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\nrest"))
	f.Add(append(append([]byte{}, signatureV2...), 0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := proxyHeader(r)
		if err != nil {
			return
		}
		if len(h) > maxProxyV2 || !bytes.HasPrefix(data, h) || r.Len() != len(data)-len(h) {
			t.Fatalf("header %q of %q", h, data)
		}
	})
}
