"""Networks of every kind that a tangent kernel is tested on, with inputs; and the kernel by explicit Jacobians."""

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def reference(net, x1, x2=None):
    """J(x1) J(x2)^T in float64, full, from one backward pass for every output of every example alone."""
    net = net.double()
    left = jacobian(net, x1)
    right = left if x2 is None else jacobian(net, x2)
    return (left.flatten(0, 1) @ right.flatten(0, 1).T).view(*left.shape[:2], *right.shape[:2]).transpose(1, 2)


def reduced(full, kind):
    """The kernel of another kind, from the full one."""
    diagonal = full.diagonal(dim1=2, dim2=3)
    return {"full": full, "trace": diagonal.sum(-1), "diagonal": diagonal}[kind]


def jacobian(net, x):
    inputs = x if isinstance(x, tuple) else (x,)
    inputs = tuple(t.double() if t.is_floating_point() else t for t in inputs)
    parameters = [p for p in net.parameters() if p.requires_grad]
    rows = []
    for i in range(len(inputs[0])):
        outputs = net(*(t[i : i + 1] for t in inputs)).flatten()
        for output in outputs:
            gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
            gradients = [g if g is None else g.to_dense() for g in gradients]
            pairs = zip(gradients, parameters, strict=True)
            rows.append(torch.cat([torch.zeros(p.numel()).double() if g is None else g.flatten() for g, p in pairs]))
    return torch.stack(rows).reshape(len(inputs[0]), -1, len(rows[0]))


class Lambda(nn.Module):
    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def convolutions():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, padding_mode="reflect"),
        nn.Tanh(),
        nn.Conv2d(6, 6, (3, 2), padding="same", groups=6, bias=False),
        nn.Softplus(),
        nn.Conv2d(6, 4, 3, padding="same", dilation=(1, 2)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    return net, torch.randn(5, 2, 8, 8)


def other_dimensions():
    def forward(self, x):
        x = torch.tanh(self.one(x))
        x = torch.tanh(self.up(x)).unflatten(2, (3, 2, -1))
        return self.three(x).flatten(1)

    one, up = nn.Conv1d(2, 4, 3, stride=2), nn.ConvTranspose1d(4, 2, 3, 2, padding=1, output_padding=1, groups=2)
    return Lambda(forward, one=one, up=up, three=nn.Conv3d(2, 2, 2, stride=(1, 2, 2))), torch.randn(3, 2, 13)


def transposed_2d():
    up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=(1, 0), dilation=(1, 2), groups=1)
    return nn.Sequential(nn.Conv2d(1, 3, 3), up, nn.Tanh(), nn.Conv2d(4, 1, 5)), torch.randn(3, 1, 5, 5)


def resnet18():
    net = torchvision.models.resnet18(num_classes=3)
    randomise_statistics(net)
    return net.eval(), torch.randn(3, 3, 32, 32)


def randomise_statistics(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)


def norms():
    class Norms(nn.Sequential):
        def forward(self, x):
            return super().forward(x).mean(-1).flatten(1)

    net = Norms(
        nn.Conv2d(2, 4, 3),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.InstanceNorm2d(4, affine=True),
        nn.LayerNorm((4, 4)),
        nn.BatchNorm2d(4),
        nn.RMSNorm(4),
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    randomise_statistics(net)
    return net.eval(), torch.randn(4, 2, 6, 6)


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = Lambda(lambda self, x: self.head(self.encoder(x))[:, 0], encoder=layer, head=nn.Linear(8, 3))
    return net.eval(), torch.randn(5, 7, 8)


def transformer_sequence_first():
    layer = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True)
    net = Lambda(lambda self, x: self.layer(x.transpose(0, 1))[0], layer=layer)
    return net.eval(), torch.randn(4, 7, 8)


def cross_attention():
    def forward(self, x, y):
        first = self.first(x, y, y, need_weights=False)[0]
        return self.second(first, y, y.tanh())[0].mean(1)

    first = nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=6)
    second = nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=6, add_bias_kv=True)
    return Lambda(forward, first=first, second=second), (torch.randn(3, 4, 8), torch.randn(3, 5, 6))


def packed_cross_attention():
    net = Lambda(
        lambda self, x, y: self.layer(x, y, y)[0].flatten(1), layer=nn.MultiheadAttention(4, 2, batch_first=True)
    )
    return net, (torch.randn(3, 2, 4), torch.randn(3, 5, 4))


def embedding():
    net = nn.Sequential(nn.Embedding(6, 4, padding_idx=2), nn.Flatten(), nn.Tanh(), nn.Linear(20, 2))
    return net, torch.tensor([[0, 0, 1, 2, 2], [1, 5, 0, 0, 5], [3, 2, 3, 3, 0], [4, 4, 4, 4, 4], [2, 2, 2, 2, 2]])


def tied_language_model():
    embedded, head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
    head.weight = embedded.weight
    net = nn.Sequential(embedded, nn.Tanh(), nn.LayerNorm(4), head)
    return net, torch.randint(7, (3, 3), generator=torch.Generator().manual_seed(0))


def two_groupings():
    """One weight in convolutions with one group and with two."""

    def forward(self, x):
        return F.conv1d(torch.tanh(F.conv1d(x, self.weight)), self.weight, groups=2).mean(-1)

    return Lambda(forward, weight=nn.Parameter(torch.randn(4, 2, 3))), torch.randn(3, 2, 9)


def sparse_embeddings():
    def forward(self, tokens):
        return self.head((self.tokens(tokens) + self.positions(torch.arange(2))).flatten(1))

    tokens, positions = nn.Embedding(5, 3, sparse=True), nn.Embedding(2, 3, sparse=True)
    net = Lambda(forward, tokens=tokens, positions=positions, head=nn.Linear(6, 2))
    return net, torch.randint(5, (3, 2), generator=torch.Generator().manual_seed(0))


def partly_without_gradient():
    def forward(self, x):
        with torch.no_grad():
            x = self.a(x)
        return self.b(torch.tanh(x))

    return Lambda(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2)), torch.randn(4, 3)


def generative():
    """A causal language model with position embeddings; the head is the embedding."""

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = torch.full((length, length), -torch.inf, dtype=self.head.weight.dtype).triu(1)
        x = self.tokens(tokens) + self.positions(torch.arange(length))
        return self.head(self.norm(self.layer(x, src_mask=mask)))[:, -1]

    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    parts = {"tokens": nn.Embedding(5, 8), "positions": nn.Embedding(6, 8), "head": nn.Linear(8, 5, bias=False)}
    parts["head"].weight = parts["tokens"].weight
    net = Lambda(forward, layer=layer, norm=nn.LayerNorm(8), **parts)
    return net.eval(), torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(0))


def vision_transformer():
    net = torchvision.models.VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=2)
    nn.init.normal_(net.heads.head.weight)
    return net.eval(), torch.randn(3, 3, 8, 8)


def single_example():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), torch.randn(1, 1, 4, 4)


def tied():
    def forward(self, x):
        return self.a(torch.tanh(self.b(torch.tanh(self.a(x)))))

    net = Lambda(forward, a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    net.b.weight = net.a.weight
    return net, torch.randn(7, 3)


def used_twice():
    def forward(self, x):
        x = torch.tanh(self.convolution(x))
        x = F.relu(self.convolution(x[..., ::2]), inplace=True)
        return self.linear(self.linear(x.mean(-1)).tanh()).squeeze(1)

    return Lambda(forward, convolution=nn.Conv2d(3, 3, 3, padding=1), linear=nn.Linear(6, 6)), torch.randn(3, 3, 6, 6)


def recurrent():
    net = Lambda(
        lambda self, x: self.head(self.lstm(x)[0][:, -1]), lstm=nn.LSTM(3, 4, batch_first=True), head=nn.Linear(4, 2)
    )
    return net, torch.randn(4, 5, 3)


def gated():
    return Lambda(lambda self, x: self.gru(x)[0].flatten(1), gru=nn.GRU(3, 2, batch_first=True)), torch.randn(3, 4, 3)


def own_parameters():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.matrix = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4, 3))
            self.unused, self.frozen = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(3), requires_grad=False)
            self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

        def forward(self, x):
            x = torch.tanh(self.linear(x) * self.scale)
            return torch.tanh(x @ self.matrix + self.frozen) @ self.matrix.T

    return Own(), torch.randn(5, 4)


def broadcast_parameters():
    """Added, multiplied and expanded ones; "other" and "constant" are used in ways that are left to differentiation."""
    shapes = {"token": (1, 1, 3), "position": (5, 3), "scale": (3,), "one": (1,), "other": (5, 3), "constant": (3, 3)}

    class Broadcast(nn.Module):
        def __init__(self):
            super().__init__()
            for name, shape in shapes.items():
                setattr(self, name, nn.Parameter(torch.randn(shape)))

        def forward(self, x):
            n = len(x)
            x = torch.cat((self.token.expand(n, -1, -1) + self.token.expand((n, 1, 3)).tanh(), x.mul(self.one)), 1)
            x = (self.position + x).tanh() * self.scale + torch.mul(self.scale, x.tanh())
            x = torch.add(x, self.position).tanh() + self.position.expand(n, 5, 3)
            x = torch.add(x, self.other, alpha=2).tanh().mul(other=self.other) @ (self.constant * 2.0)
            x = x.tanh() + torch.ones(n, 5, 3, dtype=torch.int64).mul(self.other) + self.other.expand(size=(n, 5, 3))
            return (x * self.one @ (self.constant + self.constant.T)).sum(1)

    return Broadcast(), torch.randn(5, 4, 3)


def transformed():
    """Parts inside transformations of torch.func."""

    def forward(self, x):
        x = torch.func.vmap(lambda e: torch.tanh(self.linear(e) * self.scale))(x)
        return torch.func.jvp(lambda z: torch.tanh(self.head(z)), (x,), (torch.ones_like(x),))[1]

    scale = nn.Parameter(torch.randn(3))
    return Lambda(forward, linear=nn.Linear(3, 3), head=nn.Linear(3, 2), scale=scale), torch.randn(4, 3)


def force():
    """The output is a gradient."""

    def forward(self, x):
        x = x if x.requires_grad else x.detach().requires_grad_()
        energy = self.head(torch.tanh(self.linear(x) * self.scale)).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]

    scale = nn.Parameter(torch.randn(4))
    return Lambda(forward, linear=nn.Linear(3, 4), head=nn.Linear(4, 1), scale=scale), torch.randn(3, 3)


def in_place():
    """Inputs that are changed after an addition, expansions without gradient, and a parameter without elements."""

    def forward(self, x):
        with torch.no_grad():
            constant = self.scale.expand(len(x), 3)
        y = self.linear(x)
        shifted = y + self.shift
        y.relu_()
        return torch.cat((shifted * self.scale - constant, y, y[:, :0] + self.empty), 1)

    shapes = {"scale": 3, "shift": 3, "empty": 0}
    parameters = {name: nn.Parameter(torch.randn(size)) for name, size in shapes.items()}
    return Lambda(forward, linear=nn.Linear(3, 3), **parameters), torch.randn(4, 3)


def looped_scale():
    def forward(self, x):
        return self.linear(torch.stack([torch.tanh(e * self.scale) for e in x]))

    return Lambda(forward, linear=nn.Linear(3, 2), scale=nn.Parameter(torch.randn(3))), torch.randn(4, 3)


def partly_elsewhere():
    def forward(self, x):
        return torch.tanh(self.linear(x)) + x @ self.linear.weight.T.tanh()

    return Lambda(forward, linear=nn.Linear(4, 4)), torch.randn(3, 4)


def frames():
    """Every example is several images."""

    def forward(self, x):
        n = len(x)
        x = torch.tanh(self.convolution(x.flatten(0, 1)))
        return self.linear(x.flatten(1)).unflatten(0, (n, -1)).tanh().sum(1)

    return Lambda(forward, convolution=nn.Conv2d(1, 2, 3), linear=nn.Linear(8, 2)), torch.randn(3, 5, 1, 4, 4)


def one_by_one():
    """A loop over examples."""
    net = Lambda(lambda self, x: torch.stack([self.linear(e) for e in x]), linear=nn.Linear(3, 2))
    return net, torch.randn(4, 3)


def shuffled():
    """The batch reversed inside, and back."""
    net = Lambda(lambda self, x: self.linear(x.flip(0)).tanh().flip(0), linear=nn.Linear(3, 2))
    return net, torch.randn(4, 3)


def single_output():
    return nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 1), nn.Flatten(0)), torch.randn(7, 3)


NETWORKS = (
    convolutions,
    other_dimensions,
    transposed_2d,
    resnet18,
    norms,
    transformer,
    transformer_sequence_first,
    cross_attention,
    packed_cross_attention,
    embedding,
    tied_language_model,
    two_groupings,
    sparse_embeddings,
    partly_without_gradient,
    generative,
    vision_transformer,
    single_example,
    tied,
    used_twice,
    recurrent,
    gated,
    own_parameters,
    broadcast_parameters,
    transformed,
    force,
    in_place,
    looped_scale,
    partly_elsewhere,
    frames,
    one_by_one,
    shuffled,
    single_output,
)


def build(make):
    torch.manual_seed(0)
    return make()
