package page

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	_ "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/mysql"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/integration/embedded"
)

// world is sidewire in this process with a store behind it.
type world struct {
	t       *testing.T
	gateway *gateway.Gateway
	file    string
	text    string
	db      *sql.DB
}

const configuration = `
node: {id: "page-test <b>"}
admin: {address: "127.0.0.1:0"%s}
telemetry: {slow: 1ms}
listeners:
  - {name: shop, address: "127.0.0.1:0", mysql: {cluster: shop-0, users: [{name: app, password: secret}]}}
clusters:
  - {name: shop-0, mysql: {user: app, password: secret}, endpoints: [{address: %q, zone: a, role: primary}]}
  - {name: lost, mysql: {user: app, password: secret}, health: {interval: 100ms, unhealthy: 1}, endpoints: ["127.0.0.1:1"]}
`

func begin(t *testing.T, admin string) *world {
	t.Helper()
	store, err := embedded.StartMySQL("127.0.0.1:0", "shop", "app", "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	logs, err := telemetry.NewLogs(io.Discard, "text", slog.LevelError)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, gateway: gateway.New(logs, mysql.Protocol()), file: filepath.Join(t.TempDir(), "sidewire.yaml")}
	w.text = fmt.Sprintf(configuration, admin, store.Addr)
	w.gateway.ServeAdmin(gateway.Identity{Version: "test"}, func() {})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		w.gateway.Close(ctx)
	})
	w.load(w.text)
	w.db, err = sql.Open("mysql", "app:secret@tcp("+w.gateway.Listener("shop").Addr().String()+")/shop?interpolateParams=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	return w
}

func (w *world) load(text string) int {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return len(w.gateway.LoadFile(w.file))
}

// browser starts a headless Chromium that may reach nothing but this machine, and notes what it asks for and complains of.
func browser(t *testing.T) (context.Context, *notes) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no chromium; scripts/servers.sh installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.WSURLReadTimeout(90*time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	n := &notes{}
	ctx, end := chromedp.NewContext(ctx, chromedp.WithListener(n.take))
	t.Cleanup(end)
	return ctx, n
}

// notes are what the browser complained of.
type notes struct {
	mu       sync.Mutex
	problems []string
}

func (n *notes) take(event any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		n.problems = append(n.problems, fmt.Sprintf("%+v", e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" {
			n.problems = append(n.problems, fmt.Sprintf("%+v", e.Args))
		}
	}
}

func do(t *testing.T, ctx context.Context, action chromedp.Action[chromedp.Void]) {
	t.Helper()
	if _, err := chromedp.Run(ctx, action); err != nil {
		t.Fatal(err)
	}
}

func ask[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// until waits for an expression to become true in the page.
func until(t *testing.T, ctx context.Context, what, expression string) {
	t.Helper()
	poll := chromedp.Poll[bool](expression, chromedp.WithPollingInterval(100*time.Millisecond), chromedp.WithPollingTimeout(45*time.Second))
	if _, err := chromedp.Run(ctx, poll); err != nil {
		t.Fatalf("%s: %v; the page says\n%s", what, err, ask[string](t, ctx, "document.body.innerText"))
	}
}

func contains(id, text string) string {
	return fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, text)
}

func (w *world) query(text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rows, err := w.db.QueryContext(ctx, text)
	if err == nil {
		rows.Close()
	}
	if failing := strings.Contains(text, "nowhere"); failing != (err != nil) {
		w.t.Fatalf("%s: %v", text, err)
	}
}

func TestPageShowsWhatHappens(t *testing.T) {
	w := begin(t, "")
	ctx, n := browser(t)
	at := "http://" + w.gateway.Admin().Addr().String() + "/"
	do(t, ctx, chromedp.Navigate(at))
	until(t, ctx, "state", contains("state", "LIVE"))
	until(t, ctx, "names are text, not HTML", contains("about", "page-test <b>"))
	until(t, ctx, "listener", contains("listeners", "shop")+" && "+contains("listeners", "to shop-0"))
	until(t, ctx, "endpoint", contains("clusters", "primary")+" && "+contains("clusters", "zone a")+" && "+contains("clusters", "healthy"))
	until(t, ctx, "lost endpoint", contains("clusters", "unhealthy"))

	// traffic, forms and slow statements come while the page is open
	for i := range 20 {
		w.query(fmt.Sprintf("SELECT %d, 'private', '<img src=x onerror=alert(1)>'", i))
	}
	w.query("SELECT SLEEP(0.05)")
	w.query("SELECT * FROM nowhere")
	until(t, ctx, "traffic", contains("traffic-table", "shop")+" && /[1-9]/.test(document.querySelector('#traffic-table tbody tr td:nth-child(7)').textContent)")
	until(t, ctx, "form", contains("forms-table", "SELECT ?, ?, ?"))
	until(t, ctx, "slow", contains("slow-table", "SLEEP(?)"))
	until(t, ctx, "chart", "document.getElementById('chart-count').getAttribute('points').split(' ').length > 1")
	if strings.Contains(ask[string](t, ctx, "document.body.innerText"), "private") {
		t.Error("the page shows a literal")
	}

	// a rejected configuration appears, and goes again
	if w.load(strings.Replace(w.text, "zone: a", "zonee: a", 1)) == 0 {
		t.Fatal("a broken configuration was taken")
	}
	until(t, ctx, "rejection", "!document.getElementById('rejected').hidden && "+contains("rejected-problems", "zonee"))
	if w.load(w.text+"# again\n") != 0 {
		t.Fatal("a good configuration was refused")
	}
	w.keyboardAndPhone(t, ctx)

	asked := ask[[]string](t, ctx, "performance.getEntriesByType('resource').map((r) => r.name)")
	for _, u := range asked {
		if !strings.HasPrefix(u, at) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page asked for %s", u)
		}
	}
	if len(asked) < 4 {
		t.Errorf("only %q was asked for", asked)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.problems) > 0 {
		t.Errorf("the browser complains: %q", n.problems)
	}
}

// keyboardAndPhone uses the page without a mouse, and on a narrow screen.
func (w *world) keyboardAndPhone(t *testing.T, ctx context.Context) {
	t.Helper()
	do(t, ctx, chromedp.KeyEvent(kb.Tab))
	until(t, ctx, "the first stop is the way to the content", "document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().left >= 0")
	for _, stop := range []string{"pause", "Topology"} {
		do(t, ctx, chromedp.KeyEvent(kb.Tab))
		until(t, ctx, stop, fmt.Sprintf("document.activeElement.id === %q || document.activeElement.textContent === %q", stop, stop))
	}
	do(t, ctx, chromedp.KeyEvent("p"))
	until(t, ctx, "paused by a key", "document.getElementById('pause').getAttribute('aria-pressed') === 'true' && "+contains("state", "paused"))
	do(t, ctx, chromedp.KeyEvent("p"))
	until(t, ctx, "going on", contains("state", "LIVE"))
	do(t, ctx, chromedp.EmulateViewport(360, 740))
	until(t, ctx, "nothing is wider than a phone", "document.documentElement.scrollWidth <= 360")
	until(t, ctx, "buttons are large enough for a finger", "document.getElementById('pause').getBoundingClientRect().height >= 36")
}

func TestPageAsksForTheToken(t *testing.T) {
	w := begin(t, ", token: sesame")
	ctx, _ := browser(t)
	do(t, ctx, chromedp.Navigate("http://"+w.gateway.Admin().Addr().String()+"/"))
	until(t, ctx, "login", "!document.getElementById('login').hidden")
	for _, try := range []struct{ token, then string }{
		{"wrong", contains("login-problem", "not the token")},
		{"sesame", contains("state", "LIVE") + " && document.getElementById('login').hidden"},
	} {
		do(t, ctx, chromedp.SendKeys("#token", try.token+kb.Enter))
		until(t, ctx, try.token, try.then)
	}
}
