// Package agent is the loop that runs policy: observe, decide, act.
//
// Observers, one goroutine a source, put facts on a board and poke the loop. A
// pass copies the board, asks [policy.Next], publishes what was decided, starts
// and stops duties, and begins at most one action, which runs in a goroutine of
// its own while the loop goes on deciding. When an action ends, the facts that it
// may have changed are observed at once.
//
// The loop itself decides nothing. Everything that it needs of the world is in
// [Parts], in interfaces of one to three methods.
package agent
