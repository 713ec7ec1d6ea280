package gateway

import (
	"context"
	"reflect"

	"go.opentelemetry.io/otel"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/gateway/telemetry/otlp"
)

// startExport makes the OTLP exporter that the snapshot asks for: the one that is there when nothing about it changed, nil when
// there is none.
func (t *transition) startExport() []config.Problem {
	g, want := t.g, t.s.Telemetry.OTLP
	if t.old != nil && reflect.DeepEqual(t.old.Node, t.s.Node) && want.Same(t.old.Telemetry.OTLP) {
		t.export = g.export.Load()
		return nil
	}
	if want == nil {
		return nil
	}
	e, err := otlp.Start(otlp.Options{Config: want, Node: t.s.Node, Version: g.version, Registry: g.metrics, Started: g.started})
	if err != nil {
		return []config.Problem{config.Path("telemetry.otlp").Problem("starting: %v", err)}
	}
	t.export = e
	t.undoing(func() { g.endExport(e) })
	return nil
}

// commitTelemetry puts what the snapshot says about telemetry in force. Nothing of it can fail.
func (t *transition) commitTelemetry() {
	g, c := t.g, t.s.Telemetry
	g.metrics.ShowDevelopment(c.Development)
	g.told.Configure(telemetry.Settings{Slow: c.Slow.Std(), SlowEntries: c.SlowEntries, Digests: c.Digests})
	before := g.export.Swap(t.export)
	if before == t.export {
		return
	}
	if t.export == nil {
		g.told.Trace(nil)
	} else {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { g.log.Warn("sending telemetry", "error", err) }))
		g.told.Trace(t.export)
	}
	if before != nil {
		g.leaving.Go(func() { g.endExport(before) })
	}
}

// endExport sends what waits. It does not wait for ever: whoever should take it may be gone.
func (g *Gateway) endExport(e *otlp.Exporter) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		g.log.Warn("sending the last telemetry", "error", err)
	}
}
