"""Truths about class token, causal attention, rows of token ids and streaming."""

import pytest
import torch

from vjepa.grid import TokenGrid
from vjepa.models import VideoEncoder
from vjepa.models.encoder import causal_visibility
from vjepa.models.layers import attention, written_out_attention

POSITIONS = ["rotary", "rotary_tiled", "sincos", "sincos_uniform"]
FRAMES, PLANE = 6, 9  # tubelets of one frame, of 3 x 3 tokens
close = {"atol": 1e-5, "rtol": 1e-5}


def tiny_encoder(**settings) -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(**({"embed_dim": 48, "depth": 3, "num_heads": 2, "tubelet": (1, 4, 4)} | settings))


def causal_encoder(**settings) -> VideoEncoder:
    return tiny_encoder(**({"class_token": True, "attention": "causal"} | settings))


def clips_that_differ_from(frame: int) -> tuple[torch.Tensor, torch.Tensor]:
    clips = torch.randn(2, 3, FRAMES, 12, 12, generator=torch.Generator().manual_seed(1))
    other = clips.clone()
    other[:, :, frame:] = 3.0
    return clips, other


def scattered_ids(rows: int, count: int = 20) -> torch.Tensor:
    """Unsorted, another choice in each row."""
    return torch.stack([torch.randperm(FRAMES * PLANE)[:count] for _ in range(rows)])


def assert_earlier_tokens_are_the_same(encoder: VideoEncoder, ids: torch.Tensor | None, frame: int = 3) -> None:
    clips, other = (part.to(next(encoder.parameters()).dtype) for part in clips_that_differ_from(frame))
    levels = encoder.output_levels or (0, 1, 2)
    rows = torch.arange(FRAMES * PLANE).expand(2, -1) if ids is None else ids
    earlier = rows < frame * PLANE
    for one, two in zip(*(encoder.forward_levels(each, levels, ids) for each in (clips, other)), strict=True):
        assert torch.equal(one[earlier], two[earlier])
        assert not torch.equal(one[~earlier], two[~earlier])


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("class_token", [False, True])
def test_a_later_frame_changes_no_earlier_token(position, class_token):
    encoder = causal_encoder(position=position, class_token=class_token)
    assert_earlier_tokens_are_the_same(encoder, None)
    assert_earlier_tokens_are_the_same(encoder, scattered_ids(2))
    assert_earlier_tokens_are_the_same(encoder, scattered_ids(6))
    full = tiny_encoder(position=position, class_token=class_token)
    with pytest.raises(AssertionError):
        assert_earlier_tokens_are_the_same(full, None)


@pytest.mark.parametrize(
    "settings",
    [{"output_levels": (0, 2), "modality_embeddings": True}, {"activation_checkpointing": True}, {"mlp": "swiglu"}],
)
def test_the_causal_law_holds_in_every_kind_of_encoder(settings):
    assert_earlier_tokens_are_the_same(causal_encoder(**settings), scattered_ids(4))


def test_the_causal_law_holds_in_bf16_written_out():
    assert_earlier_tokens_are_the_same(causal_encoder().to(torch.bfloat16), scattered_ids(4))
    assert_earlier_tokens_are_the_same(causal_encoder().to(torch.bfloat16), None)


def test_the_causal_law_holds_over_the_blocks_of_the_fused_kernel():
    """1,200 keys in random order: whole blocks of them are hidden from early queries."""
    grid = TokenGrid(12, 10, 10)
    ids = torch.randperm(grid.num_tokens)[None]
    visible = causal_visibility(grid, ids.device, ids, True)
    query, key, value = torch.randn(3, 1, 2, 1201, 8)
    before = attention(query, key, value, visible)
    torch.testing.assert_close(before, written_out_attention(query, key, value, visible), **close)
    late = torch.nn.functional.pad(ids[0] >= 600, (1, 0), value=True)
    key[:, :, late], value[:, :, late] = 100.0, -100.0
    assert torch.equal(attention(query, key, value, visible)[:, :, ~late], before[:, :, ~late])


def test_a_token_sees_its_own_frame_and_earlier_ones_and_only_the_class_token_sees_all():
    visible = causal_visibility(TokenGrid(2, 1, 2), torch.device("cpu"), None, True)
    assert visible.int().tolist() == [[[[1] * 5, [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]]]]


@pytest.mark.parametrize("kind", ["full", "causal"])
def test_class_token_depends_on_all_frames_and_patch_tokens_are_returned_without_it(kind):
    encoder = tiny_encoder(class_token=True, attention=kind)
    clips, other = clips_that_differ_from(FRAMES - 1)
    assert encoder(clips).shape == (2, FRAMES * PLANE, 48)
    assert not torch.equal(encoder.embed_clips(clips), encoder.embed_clips(other))
    without = tiny_encoder(attention=kind)
    without.load_state_dict({name: each for name, each in encoder.state_dict().items() if name != "cls_token"})
    same = torch.allclose(without(clips), encoder(clips), **close)
    assert same == (kind == "causal")  # no token attends to it


def test_without_a_class_token_an_embedding_is_the_mean_token():
    encoder, clips = tiny_encoder(output_levels=(0, 2)), torch.randn(2, 3, FRAMES, 12, 12)
    torch.testing.assert_close(encoder.embed_clips(clips), encoder(clips).mean(1))
    assert "cls_token" not in encoder.state_dict()


@pytest.mark.parametrize("settings", [{}, {"position": "sincos"}, {"difference_gain": 2.0}, {"class_token": True}])
@pytest.mark.parametrize("kind", ["full", "causal"])
def test_rows_of_token_ids_are_that_many_copies_of_the_clip(settings, kind):
    if "difference_gain" in settings and kind == "causal":
        return
    encoder, clips = tiny_encoder(**settings, attention=kind, output_levels=(1, 2)), torch.randn(2, 3, FRAMES, 12, 12)
    ids, copies = scattered_ids(6), clips.repeat_interleave(3, dim=0)
    for name in ("forward", "forward_outputs", "embed_clips"):
        function = getattr(encoder, name)
        torch.testing.assert_close(function(clips, ids), function(copies, ids), **close)
    levels = zip(encoder.forward_levels(clips, [1, 2], ids), encoder.forward_levels(copies, [1, 2], ids), strict=True)
    for ours, theirs in levels:
        torch.testing.assert_close(ours, theirs, **close)
    with pytest.raises(ValueError, match="5 rows of token ids must be a multiple of 2 clips"):
        encoder(clips, ids[:5])


@pytest.mark.parametrize("kind", ["full", "causal"])
@pytest.mark.parametrize("read", ["forward", "embed_clips"])
def test_every_parameter_has_a_gradient_whatever_is_read(kind, read):
    encoder = tiny_encoder(class_token=True, attention=kind)
    getattr(encoder, read)(torch.randn(2, 3, FRAMES, 12, 12), scattered_ids(4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    reaches = bool(encoder.cls_token.grad.any())
    assert reaches == (kind == "full" or read == "embed_clips")


def test_settings_that_would_show_the_future_are_refused():
    with pytest.raises(ValueError, match="earlier tokens would depend on later frames"):
        causal_encoder(difference_gain=1.0)
    for settings in ({"attention": "causal"}, {"class_token": True}):
        with pytest.raises(ValueError, match=r"leave out .* class_token and causal attention"):
            tiny_encoder(per_frame=True, **settings)
    with pytest.raises(ValueError, match=r"attention \(sparse\) must be one of full, causal"):
        tiny_encoder(attention="sparse")


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("tubelet", [1, 2])
def test_a_stream_is_the_whole_pass(position, class_token, tubelet):
    settings = {"position": position, "class_token": class_token, "tubelet": (tubelet, 4, 4)}
    encoder, clips = causal_encoder(**settings, modality_embeddings=True), torch.randn(2, 3, FRAMES, 12, 8)
    stream, tokens = encoder.stream(), []
    lengths = [2, 2, 2] if tubelet == 2 else [1, 3, 2]
    for frames in clips.split(lengths, dim=2):
        tokens.append(stream.extend(frames))
        whole = clips[:, :, : stream.grid.frames * tubelet]
        torch.testing.assert_close(torch.cat(tokens, dim=1), encoder(whole), **close)
        torch.testing.assert_close(stream.embed_clips(), encoder.embed_clips(whole), **close)
    assert stream.grid == encoder.grid_of(clips)


def test_a_stream_follows_positions_of_a_known_grid_as_far_as_they_go():
    frame = torch.randn(1, 3, 1, 12, 12)
    stretched = causal_encoder(position="rotary", position_grid=(1, 6, 6))
    stream = stretched.stream()
    tokens = torch.cat([stream.extend(frame) for _ in range(3)], dim=1)
    torch.testing.assert_close(tokens, stretched(frame.expand(-1, -1, 3, -1, -1)), **close)
    known = causal_encoder(position="sincos", position_grid=(2, 3, 3))
    stream = known.stream()
    tokens = torch.cat([stream.extend(frame) for _ in range(2)], dim=1)
    torch.testing.assert_close(tokens, known(frame.expand(-1, -1, 2, -1, -1)), **close)
    with pytest.raises(ValueError, match=r"3 x 3 x 3 tokens don't fit the table .* at most 2 of them"):
        stream.extend(frame)
    with pytest.raises(ValueError, match="1 x 2 x 3 tokens don't fit the table of positions of 2 x 3 x 3"):
        known.stream().extend(frame[:, :, :, :8])


def test_a_stream_refuses_what_it_cannot_extend():
    with pytest.raises(ValueError, match="only one trained with attention: causal can be streamed"):
        tiny_encoder().stream()
    stream = causal_encoder().stream()
    with pytest.raises(ValueError, match="this stream has no frame yet"):
        stream.embed_clips()
    stream.extend(torch.randn(1, 3, 1, 12, 12))
    with pytest.raises(ValueError, match="frames of 2 x 3 tokens of 2 clips don't fit the stream's 3 x 3 tokens of 1"):
        stream.extend(torch.randn(2, 3, 1, 8, 12))
