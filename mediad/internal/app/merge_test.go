package app

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/flow"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// reluctant is an engine that moves the streams of so many calls, and no more.
type reluctant struct {
	numbers
	moves int
}

func (e *reluctant) Move(shard uint64, streams ...*flow.Stream) error {
	if e.moves == 0 {
		return errors.New("no room")
	}
	e.moves--
	for _, s := range streams {
		s.SetShard(shard)
	}
	return nil
}

// TestCallsThatCannotAllBecomeOneStayApart: none of three is merged if the last of them cannot be moved; later all are.
func TestCallsThatCannotAllBecomeOneStayApart(t *testing.T) {
	e := &reluctant{moves: 1}
	p := newControlPath(t, e)
	defer p.close(t)
	x := exchanges()["plain"]
	parties := func(id string) int {
		reply, ok := p.handler.Handle(context.Background(), &ng.Request{Command: ng.CommandQuery, CallID: id}).(*ng.CallReply)
		require.True(t, ok, id)
		return len(reply.Call.Tags)
	}
	calls := []string{"1", "2", "3"}
	for _, id := range calls {
		mine := x
		mine.offer.FromTag, mine.answer.FromTag, mine.answer.ToTag = id+"a", id+"a", id+"b"
		require.NoError(t, p.call((*controlPath).handle, id, mine, false))
	}
	mesh := &ng.Request{Command: ng.CommandMesh, Participants: ng.Participants{Calls: calls, Mesh: []ng.Mesh{
		{From: "1a", To: []string{"2a"}}, {From: "2a", To: []string{"3a"}},
	}}}
	require.ErrorIs(t, p.handle(mesh), ng.ReasonInternal)
	for _, id := range calls {
		require.Equal(t, 2, parties(id), id)
	}
	e.moves = 2
	require.NoError(t, p.handle(mesh))
	for _, id := range calls {
		require.Equal(t, 6, parties(id), id)
	}
}
