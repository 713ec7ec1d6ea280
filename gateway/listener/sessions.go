package listener

import (
	"context"
	"sync"
)

// Sessions counts a handler's sessions, so that its drain can wait for them. The zero value is ready.
//
// A sync.WaitGroup would not do: sessions may begin while the drain already waits.
type Sessions struct {
	mu    sync.Mutex
	count int
	none  chan struct{} // closed when count falls to zero; nil while nobody waits
}

// Begin counts one more session; End one less.
func (s *Sessions) Begin() {
	s.mu.Lock()
	s.count++
	s.mu.Unlock()
}

// End is the other half of Begin.
func (s *Sessions) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count--; s.count == 0 && s.none != nil {
		close(s.none)
		s.none = nil
	}
}

// Count is how many sessions there are.
func (s *Sessions) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Wait returns when there is no session, or when ctx is done.
func (s *Sessions) Wait(ctx context.Context) {
	s.mu.Lock()
	if s.count == 0 {
		s.mu.Unlock()
		return
	}
	if s.none == nil {
		s.none = make(chan struct{})
	}
	none := s.none
	s.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
