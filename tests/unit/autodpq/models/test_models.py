from __future__ import annotations

import pytest
import torch
from torch import nn

from autodpq.choices import Full
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.planned import PlanEmbedding
from autodpq.errors import AutoDPQError
from autodpq.kernels.operations import Dropout
from autodpq.models import DCN, GDCN, MODELS, PNN, DCNv2, DeepFM, FinalMLP
from autodpq.models.layers import MLP
from autodpq.plan import CompressionPlan, Field
from autodpq.training.network import Network

N_FIELDS, X = 4, 3
each_model = pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))


def model_of(model, *, n_fields=N_FIELDS, hidden=(5, 4), dropout=0.2):
    torch.manual_seed(0)
    made = model(n_fields, X, hidden, dropout).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape))
        for name, buffer in made.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return made


def batch_of(n=6, n_fields=N_FIELDS):
    return torch.randn(n, n_fields, X, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_all_models_are_known():
    ours = {"deepfm": DeepFM, "pnn": PNN, "dcn": DCN, "dcnv2": DCNv2, "finalmlp": FinalMLP, "gdcn": GDCN}
    assert dict(MODELS) == ours and all(model.name == name for name, model in ours.items())
    assert [MODELS.find(name) for name in MODELS] == list(MODELS.values())


@pytest.mark.parametrize(
    ("name", "near"), [("deepfn", "deepfm"), ("DeepFM", "deepfm"), ("pn", "pnn"), ("dcnv3", "dcn")]
)
def test_find_model_names_the_nearest(name, near):
    with pytest.raises(AutoDPQError, match=f"{name!r}; did you mean '{near}"):
        MODELS.find(name)


def test_find_model_names_all_where_none_is_near():
    with pytest.raises(AutoDPQError, match="'transformer'; known: deepfm, pnn, dcn, dcnv2, finalmlp, gdcn"):
        MODELS.find("transformer")


@each_model
@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize("n_fields", [1, 2, 5])
@pytest.mark.parametrize("hidden", [(), (3,), (5, 4, 3)])
def test_one_logit_per_sample(model, n, n_fields, hidden):
    logits = model_of(model, n_fields=n_fields, hidden=hidden)(batch_of(n, n_fields))
    assert logits.shape == (n,)
    assert torch.isfinite(logits).all()


@each_model
def test_samples_do_not_act_on_one_another_in_evaluation(model):
    made, embeddings = model_of(model).eval(), batch_of()
    logits = made(embeddings)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(made(embeddings[order]), logits[order])
    torch.testing.assert_close(made(embeddings[2:3]), logits[2:3])
    assert logits.std() > 0


@each_model
def test_the_gradient_reaches_every_embedding_and_every_weight(model):
    made, embeddings = model_of(model, dropout=0.0), batch_of(40).requires_grad_()
    made(embeddings).square().sum().backward()
    assert (embeddings.grad != 0).all()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        if not (".layers." in name and name.endswith("bias")):
            assert (parameter.grad != 0).any(), name


@each_model
def test_derivatives_in_evaluation(model):
    made = model_of(model, hidden=(3,)).eval()
    embeddings = batch_of(2).requires_grad_()
    assert torch.autograd.gradcheck(made, (embeddings,))
    assert torch.autograd.gradgradcheck(made, (embeddings,))


def test_mlp_blocks_are_linear_norm_relu_dropout():
    torch.manual_seed(0)
    mlp = MLP(3, [5, 2], 0.25)
    names = [type(layer).__name__ for layer in mlp.layers]
    assert names == ["Linear", "BatchNorm", "ReLU", "Dropout"] * 2
    assert mlp.n_outputs == 2 and mlp.layers[4].in_features == 5
    assert [layer.rate for layer in mlp.layers if isinstance(layer, Dropout)] == [0.25, 0.25]
    mlp.eval()
    inputs = torch.randn(4, 3)
    state = inputs
    for block in (0, 4):
        linear, norm = mlp.layers[block], mlp.layers[block + 1]
        state = state @ linear.weight.T + linear.bias
        state = (state - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        state = state.clamp(min=0)
    torch.testing.assert_close(mlp(inputs), state)
    assert MLP(3, [], 0.0).n_outputs == 3


def test_deepfm_is_the_pairs_and_the_mlp():
    made, embeddings = model_of(DeepFM).eval(), batch_of()
    deep = made.output(made.mlp(embeddings.flatten(1)))[:, 0]
    for n, sample in enumerate(embeddings):
        pairs = sum(sample[i] @ sample[j] for i in range(N_FIELDS) for j in range(i + 1, N_FIELDS))
        torch.testing.assert_close(made(embeddings)[n], deep[n] + pairs)
    assert DeepFM.first_order and not any(model.first_order for model in (PNN, DCN, DCNv2, FinalMLP, GDCN))


def test_pnn_products_by_loops():
    made, embeddings = model_of(PNN).eval(), batch_of()
    inputs = torch.stack(
        [
            torch.cat(
                [sample.flatten()]
                + [(sample[i] * sample[j]).sum()[None] for i in range(N_FIELDS) for j in range(i + 1, N_FIELDS)]
            )
            for sample in embeddings
        ]
    )
    assert inputs.shape[1] == N_FIELDS * X + 6
    torch.testing.assert_close(made(embeddings), made.output(made.mlp(inputs))[:, 0])


@pytest.mark.parametrize("model", [DCN, DCNv2, GDCN])
def test_cross_layers_by_loops(model):
    made, embeddings = model_of(model).eval(), batch_of()
    width = N_FIELDS * X
    assert len(made.cross) == 3
    logits = made(embeddings)
    for n, sample in enumerate(embeddings):
        first = sample.flatten()
        state = first.clone()
        for number, (layer, bias) in enumerate(zip(made.cross, made.biases, strict=True)):
            new = torch.empty_like(state)
            for i in range(width):
                if model is DCN:
                    inner = sum(layer.weight[0, j] * state[j] for j in range(width))
                    new[i] = first[i] * inner + bias[i] + state[i]
                    continue
                inner = sum(layer.weight[i, j] * state[j] for j in range(width))
                gate = 1
                if model is GDCN:
                    gate = 1 / (1 + (-sum(made.gates[number].weight[i, j] * state[j] for j in range(width))).exp())
                new[i] = first[i] * (inner + bias[i]) * gate + state[i]
            state = new
        joined = torch.cat([state, made.mlp(first[None])[0]])
        torch.testing.assert_close(logits[n], joined @ made.output.weight[0] + made.output.bias[0])


def test_biases_of_gated_cross_layers_start_between_zero_and_one():
    torch.manual_seed(0)
    biases = GDCN(50, 4, (), 0.0).biases
    assert biases.shape == (3, 200) and biases.min() >= 0 and biases.max() <= 1
    assert biases.mean().item() == pytest.approx(0.5, abs=0.05) and not DCNv2(50, 4, (), 0.0).biases.any()


@pytest.mark.parametrize(("hidden", "n_heads"), [((5, 4), 2), ((4, 5), 1), ((2,), 2), ((), 2)])
def test_finalmlp_by_loops(hidden, n_heads):
    made, embeddings = model_of(FinalMLP, hidden=hidden).eval(), batch_of()
    width = hidden[-1] if hidden else N_FIELDS * X
    assert made.bilinear.shape == (n_heads, width // n_heads, width // n_heads)
    logits = made(embeddings)
    for n, sample in enumerate(embeddings):
        outputs = []
        for gate, stream in zip(made.gates, made.streams, strict=True):
            gated = torch.stack([2 / (1 + (-g).exp()) * e for g, e in zip(gate, sample.flatten(), strict=True)])
            outputs.append(stream(gated[None])[0])
        first, second = outputs
        logit = made.output.bias[0]
        for i in range(width):
            logit = logit + made.output.weight[0, i] * first[i] + made.output.weight[0, width + i] * second[i]
        for head in range(n_heads):
            start = head * (width // n_heads)
            for i in range(width // n_heads):
                for j in range(width // n_heads):
                    logit = logit + first[start + i] * made.bilinear[head, i, j] * second[start + j]
        torch.testing.assert_close(logits[n], logit)


def test_finalmlp_starts_from_open_gates_and_xavier_s_bilinear_form():
    torch.manual_seed(0)
    made = FinalMLP(N_FIELDS, X, (16, 40), 0.0)
    assert not made.gates.any()
    assert made.bilinear.std().item() == pytest.approx((2 / (2 * 20 * 20 + 1)) ** 0.5, rel=0.1)
    assert abs(made.bilinear.mean().item()) < 0.01


def test_gates_without_a_context_learn_as_fuxictrs_do():
    # There, an MLP of a learned vector, both as FuxiCTR starts them: nothing but the last bias has a gradient.
    torch.manual_seed(0)
    width = N_FIELDS * X
    context = nn.Parameter(torch.zeros(1, X))
    mlp = nn.Sequential(nn.Linear(X, 64), nn.ReLU(), nn.Linear(64, width))
    for layer in (mlp[0], mlp[2]):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    ours = nn.Parameter(FinalMLP(N_FIELDS, X, (), 0.0).gates[0].detach().clone())
    optimizers = [torch.optim.Adam([context, *mlp.parameters()], 0.1), torch.optim.Adam([ours], 0.1)]
    inputs, targets = torch.randn(20, width), torch.randn(20, width)
    for _ in range(10):
        gates = 2 * mlp(context.expand(20, X)).sigmoid(), 2 * ours.sigmoid()
        for gate, optimizer in zip(gates, optimizers, strict=True):
            optimizer.zero_grad()
            (gate * inputs - targets).square().mean().backward()
            optimizer.step()
    assert not context.any() and ours.abs().max() > 0.5
    torch.testing.assert_close(mlp(context)[0], ours)


def network_of(model, *, embedding_dropout=0.0):
    torch.manual_seed(0)
    fields = tuple(Field(name, 4, 4) for name in "abcd")
    plan = CompressionPlan(dict.fromkeys("abcd", Full()))
    embedding = PlanEmbedding(fields, plan, X, model.first_order, QuantizerOptions())
    embedding.start_rows(1.0)
    return Network(embedding, model(N_FIELDS, X, (5, 4), 0.5), embedding_dropout)


@each_model
def test_a_network_adds_first_order_weights_where_the_model_has_them(model):
    network = network_of(model).eval()
    flat = network.embedding.flatten(torch.tensor([[0, 1, 2, 3], [3, 3, 0, 1]]))
    before = network(flat)
    torch.testing.assert_close(before, network.model(network.embedding(flat)))
    assert (network.embedding.first_order is not None) == model.first_order
    if model.first_order:
        with torch.no_grad():
            network.embedding.first_order[flat[0, 2].long()] += 1.5
        torch.testing.assert_close(network(flat) - before, torch.tensor([1.5, 0.0]))


def test_a_network_drops_embeddings_while_training_alone():
    network = network_of(DeepFM, embedding_dropout=0.5)
    flat = network.embedding.flatten(torch.tensor([[0, 1, 2, 3], [3, 3, 0, 1]]))
    seen = []
    network.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(flat)
    network.eval()(flat)
    assert (seen[0] == 0).any() and not (seen[1] == 0).any()


def test_reseeding_a_network_repeats_all_masks_each_from_a_stream_of_its_own():
    network = network_of(DeepFM, embedding_dropout=0.5)
    dropouts = [module for module in network.modules() if isinstance(module, Dropout)]
    assert [dropout.width for dropout in dropouts] == [N_FIELDS * X, 5, 4]

    def masks(seed):
        network.reseed(seed)
        return [dropout(torch.ones(100, dropout.width)).flatten()[:400] for dropout in dropouts]

    first, again, other = masks(1), masks(1), masks(2)
    for number, mask in enumerate(first):
        assert torch.equal(again[number], mask)
        assert not torch.equal(other[number], mask)
        assert not any(torch.equal(mask, later) for later in first[number + 1 :] + other)
