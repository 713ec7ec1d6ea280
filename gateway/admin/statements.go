package admin

import (
	"net/http"
	"strconv"
)

// digests shows the forms of statements, those first that took the most time.
func (s *Server) digests(w http.ResponseWriter, req *http.Request) {
	writeLimited(w, req, "digests", s.options.Source.Statements().Digests())
}

// slow shows the slow statements of late.
func (s *Server) slow(w http.ResponseWriter, req *http.Request) {
	writeLimited(w, req, "slow", s.options.Source.Statements().Slow())
}

// writeLimited writes a list under a name, no more of it than ?limit asks for.
func writeLimited[T any](w http.ResponseWriter, req *http.Request, name string, all []T) {
	if text := req.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			http.Error(w, "limit is no number from 0 on", http.StatusBadRequest)
			return
		}
		all = all[:min(n, len(all))]
	}
	if all == nil {
		all = []T{}
	}
	writeJSON(w, map[string]any{name: all})
}
