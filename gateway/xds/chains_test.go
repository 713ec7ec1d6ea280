package xds

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// What is inspected for HTTP would choose between chains as well, and is not known.
func TestOtherInspectorsAreRefused(t *testing.T) {
	l := listener(t, "l", 1, "c")
	l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "i", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
		TypedConfig: &anypb.Any{TypeUrl: prefix + "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}}}
	if _, err := readListener(l, nil); err != nil {
		t.Errorf("one chain: %v", err)
	}
	l.DefaultFilterChain = l.FilterChains[0]
	want := "listener_filters: i (envoy.extensions.filters.listener.http_inspector.v3.HttpInspector) is not supported with several filter chains"
	if _, err := readListener(l, nil); err == nil || err.Error() != want {
		t.Errorf("two chains: %v, want %s", err, want)
	}
}

// A listener whose chains wait for secrets is looked at without their TLS.
func TestWithoutTLS(t *testing.T) {
	cert := func() tree { return tree{"cert": hole{"s", partChain, ""}} }
	body := tree{"tls": cert(), "tcp": tree{"chains": []any{tree{"tls": cert(), "cluster": "a"}}, "default_chain": tree{"tls": cert(), "cluster": "b"}}}
	withoutTLS(body)
	if n := needsOf(body); n.any() || treeOf(treeOf(body["tcp"])["default_chain"])["cluster"] != "b" {
		t.Errorf("left: %v", body)
	}
}
