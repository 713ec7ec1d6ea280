// Command demo shows sidewire at work on a machine that has nothing but Go: it starts stores in this process, sidewire
// before them from conf/demo.yaml, sends real clients' traffic through it and says what went where.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/kafka"
	"github.com/sidewire/sidewire/gateway/mysql"
	"github.com/sidewire/sidewire/gateway/redis"
	"github.com/sidewire/sidewire/gateway/tcp"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

func main() {
	once := flag.Bool("once", false, "end after the account; exit code 0 only if every check held")
	file := flag.String("c", "../conf/demo.yaml", "the configuration")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *file, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

var errChecks = errors.New("not every check held")

func run(ctx context.Context, file string, once bool) error {
	dir, err := os.MkdirTemp("", "sidewire-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	at, err := settle(file, dir)
	if err != nil {
		return err
	}
	behind, err := startStores(at)
	if err != nil {
		return fmt.Errorf("starting the stores: %w", err)
	}
	defer behind.close()
	side, err := startSidewire(at, dir)
	if err != nil {
		return fmt.Errorf("starting sidewire: %w", err)
	}
	defer side.close()

	// Bounded as a whole: a demo that hangs shows nothing.
	busy, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	a := &account{place: at}
	for _, drive := range []func(context.Context, *place, *stores, *account) error{driveMySQL, driveRedis, driveKafka} {
		if err := drive(busy, at, behind, a); err != nil {
			a.check(false, "%v", err)
		}
	}
	a.print(os.Stdout, at.admin)
	if !once {
		fmt.Println("Ctrl-C ends it.")
		<-ctx.Done()
	}
	if a.failed {
		return errChecks
	}
	return nil
}

// sidewire is a gateway in this process, as cmd/sidewire runs it.
type sidewire struct {
	gateway *gateway.Gateway
	log     *os.File
}

func startSidewire(p *place, dir string) (*sidewire, error) {
	log, err := os.Create(filepath.Join(dir, "sidewire.log"))
	if err != nil {
		return nil, err
	}
	logs, err := telemetry.NewLogs(log, "json", slog.LevelInfo)
	if err != nil {
		return nil, err
	}
	s := &sidewire{log: log, gateway: gateway.New(logs, kafka.Protocol(), mysql.Protocol(), redis.Protocol(), tcp.Protocol())}
	s.gateway.ServeAdmin(gateway.Identity{Version: "demo"}, func() {})
	if problems := s.gateway.LoadFile(p.file); len(problems) > 0 {
		var lines []string
		for _, problem := range problems {
			lines = append(lines, problem.String())
		}
		s.close()
		return nil, errors.New(strings.Join(lines, "\n"))
	}
	return s, nil
}

func (s *sidewire) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	s.gateway.Close(ctx)
	s.log.Close()
}
