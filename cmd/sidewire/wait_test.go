package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWaitReturnsWhenReady(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := waitReady(ctx, s.URL); err != nil || asked.Load() != 3 {
		t.Fatalf("%v after %d questions", err, asked.Load())
	}
}

func TestWaitSaysWhyItGaveUp(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer s.Close()
	c := waitCommand()
	c.SetContext(context.Background())
	c.SilenceErrors, c.SilenceUsage = true, true
	var out strings.Builder
	c.SetErr(&out)
	address := strings.TrimPrefix(s.URL, "http://")
	c.SetArgs([]string{"--admin", address, "--timeout", "200ms"})
	if err := c.Execute(); err != (failure{exitFailed}) {
		t.Fatal(err)
	}
	if want := "sidewire at " + address + " was not ready within 200ms: it answers 503 Service Unavailable\n"; out.String() != want {
		t.Fatalf("printed %q, want %q", out.String(), want)
	}
}
