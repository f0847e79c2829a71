package agent

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// observer polls one source: every `every` (0: never), and at once when kicked. A kick during a poll causes another poll after it, so whoever
// kicks gets an observation that began after the kick.
type observer struct {
	name string
	poll func(ctx context.Context)
	kick chan struct{}
	// paced: the interval has become shorter.
	paced chan struct{}

	mu    sync.Mutex
	every time.Duration
	// jitter is by how much of the interval, more or less, each pause differs.
	jitter float64
}

func newObserver(name string, every time.Duration, poll func(context.Context)) *observer {
	return &observer{name: name, every: every, poll: poll, kick: make(chan struct{}, 1), paced: make(chan struct{}, 1)}
}

// now asks for an observation at once.
func (o *observer) now() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// pace sets the interval. A shorter one takes effect at once: the next poll is that long
// after the last one, which may be now.
func (o *observer) pace(every time.Duration) {
	o.mu.Lock()
	was := o.every
	o.every = every
	o.mu.Unlock()
	if every != 0 && (was == 0 || every < was) {
		select {
		case o.paced <- struct{}{}:
		default:
		}
	}
}

func (o *observer) interval() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.every
}

// run polls until ctx ends.
func (o *observer) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if o.interval() == 0 {
		timer.Stop()
	}
	var last time.Time // when the last poll began
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.paced:
			if every := o.interval(); every != 0 {
				timer.Reset(max(0, every-time.Since(last)))
			}
			continue
		case <-timer.C:
		case <-o.kick:
		}
		if o.interval() != 0 {
			last = time.Now()
			o.poll(ctx)
		}
		timer.Stop()
		if every := o.interval(); every != 0 {
			timer.Reset(every + time.Duration((2*rand.Float64()-1)*o.jitter*float64(every)))
		}
	}
}

// spaced runs a function when asked, at once, but with a pause after each run: who asks
// in a pause has it run at the pause's end.
type spaced struct {
	run   func()
	pause time.Duration

	mu    sync.Mutex
	timer *time.Timer // of the pause, nil outside
	again bool
	ended bool
}

func seldom(pause time.Duration, run func()) *spaced { return &spaced{run: run, pause: pause} }

func (s *spaced) now() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = true
	if s.timer == nil {
		s.next()
	}
}

// next runs it if somebody asked, and begins a pause.
func (s *spaced) next() {
	s.timer = nil
	if s.again && !s.ended {
		s.again = false
		s.timer = time.AfterFunc(s.pause, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.next()
		})
		s.run()
	}
}

// stop: it runs no more.
func (s *spaced) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
