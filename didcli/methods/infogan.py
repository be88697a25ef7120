"""InfoGAN, Chen et al. 2016, https://arxiv.org/abs/1606.03657

    c ~ U[-1, 1]^n, the codes        z ~ U[-1, 1]^m, the noise        x = G(c, z)
    L_D,Q = E[ softplus(-D(real)) ] + E[ softplus(D(x)) ] - lambda E[ log q(c|x) ]
    L_G   = E[ softplus(-D(x)) ] - lambda E[ log q(c|x) ]

in nats; q(c|x) = N(Q(x), I), its logarithm summed over codes. Q shares all but its last layers
with D, and its mean is the representation. The settings are those that InfoGAN-CR's authors use
for dSprites (Lin et al. 2020, https://arxiv.org/abs/1906.06034): no categorical codes, so that the
representation is n numbers of one kind.
"""

from didcli.nn.infogan import InfoGan, InfoGanConfig

Config = InfoGanConfig
build = InfoGan
