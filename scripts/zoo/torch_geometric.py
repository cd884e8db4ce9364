"""Graph networks of torch_geometric, on one random graph."""

import torch
import torch_geometric.nn as g

NODES, EDGES = 12, 40


def graph(make, *more):
    def build():
        edges = torch.randint(0, NODES, (2, EDGES))
        return make(), (torch.randn(NODES, 8), edges, *(draw() for draw in more)), {}

    return "net(x, edge_index" + ", ..." * bool(more) + ")", build


def pooled():
    return g.Sequential(
        "x, edge_index, batch",
        [
            (g.GINConv(g.MLP([8, 16, 16])), "x, edge_index -> x"),
            (g.global_mean_pool, "x, batch -> x"),
            (torch.nn.Linear(16, 3), "x -> x"),
        ],
    )


MODELS = {
    "GCN": graph(lambda: g.GCN(8, 16, 2, 3)),
    "GraphSAGE": graph(lambda: g.GraphSAGE(8, 16, 2, 3)),
    "GraphSAGE, max": graph(lambda: g.GraphSAGE(8, 16, 2, 3, aggr="max")),
    "GAT": graph(lambda: g.GAT(8, 16, 2, 3, heads=2)),
    "GATv2": graph(lambda: g.GAT(8, 16, 2, 3, heads=2, v2=True)),
    "GIN": graph(lambda: g.GIN(8, 16, 2, 3)),
    "PNA": graph(
        lambda: g.PNA(
            8, 16, 2, 3, aggregators=["mean", "std", "max"], scalers=["identity"], deg=torch.ones(8, dtype=torch.long)
        )
    ),
    "EdgeCNN": graph(lambda: g.EdgeCNN(8, 16, 2, 3)),
    "GINE pooled": graph(pooled, lambda: torch.arange(NODES) // 6),
    "TransformerConv": graph(lambda: g.TransformerConv(8, 4, heads=2)),
    "ChebConv": graph(lambda: g.ChebConv(8, 4, K=3)),
}
