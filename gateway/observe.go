package gateway

import (
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// configureTelemetry takes what an operator chooses about statements. Nothing of it can fail.
func (g *Gateway) configureTelemetry(c config.Telemetry) {
	g.metrics.ShowDevelopment(c.Development)
	g.told.Configure(telemetry.Settings{Slow: c.Slow.Std(), SlowEntries: c.SlowEntries, Digests: c.Digests})
}
