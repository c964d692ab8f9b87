"""What a TeX command is called in Typst: the tables of the checked subset."""

from __future__ import annotations


def _table(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split())


SYMBOLS = _table(r"""
alpha=alpha beta=beta gamma=gamma delta=delta epsilon=epsilon.alt varepsilon=epsilon zeta=zeta eta=eta
theta=theta vartheta=theta.alt iota=iota kappa=kappa lambda=lambda mu=mu nu=nu xi=xi pi=pi varpi=pi.alt
rho=rho
varrho=rho.alt sigma=sigma varsigma=sigma.alt tau=tau upsilon=upsilon phi=phi.alt varphi=phi chi=chi psi=psi
omega=omega Gamma=Gamma Delta=Delta Theta=Theta Lambda=Lambda Xi=Xi Pi=Pi Sigma=Sigma Upsilon=Upsilon
Phi=Phi
Psi=Psi Omega=Omega partial=partial nabla=nabla infty=infinity ell=ell hbar=planck Re=Re Im=Im forall=forall
exists=exists emptyset=emptyset varnothing=diameter aleph=aleph
cdot=dot.c times=times div=div pm=plus.minus mp=minus.plus odot=dot.o otimes=times.o oplus=plus.o
ominus=minus.o
circ=compose bullet=bullet star=star.op ast=ast.op cup=union cap=inter setminus=without wedge=and vee=or
land=and
lor=or neg=not lnot=not top=top bot=bot perp=perp dagger=dagger circledast=ast.o intercal=⊺
le=lt.eq leq=lt.eq ge=gt.eq geq=gt.eq ne=eq.not neq=eq.not ll=lt.double gg=gt.double approx=approx
sim=tilde.op
simeq=tilde.eq cong=tilde.equiv equiv=equiv propto=prop in=in ni=in.rev notin=in.not subset=subset
supset=supset
subseteq=subset.eq supseteq=supset.eq lesssim=lt.tilde gtrsim=gt.tilde prec=prec succ=succ preceq=prec.eq
succeq=succ.eq models=tack.r.double vdash=tack.r parallel=parallel triangleq=eq.delta coloneqq=colon.eq
leqslant=lt.eq.slant geqslant=gt.eq.slant
to=arrow.r rightarrow=arrow.r leftarrow=arrow.l gets=arrow.l leftrightarrow=arrow.l.r
Rightarrow=arrow.r.double
Leftarrow=arrow.l.double Leftrightarrow=arrow.l.r.double longrightarrow=arrow.r.long
longleftarrow=arrow.l.long
Longrightarrow=arrow.r.double.long implies=arrow.r.double.long iff=arrow.l.r.double.long mapsto=arrow.r.bar
longmapsto=arrow.r.long.bar hookrightarrow=arrow.r.hook uparrow=arrow.t downarrow=arrow.b nearrow=arrow.tr
searrow=arrow.br rightsquigarrow=arrow.r.squiggly leadsto=arrow.r.squiggly rightleftharpoons=harpoons.rtlb
dots=dots.h ldots=dots.h dotsc=dots.h cdots=dots.h.c dotsb=dots.h.c vdots=dots.v ddots=dots.down
sum=sum prod=product coprod=product.co int=integral iint=integral.double oint=integral.cont bigcup=union.big
bigcap=inter.big bigoplus=plus.o.big bigotimes=times.o.big bigodot=dot.o.big bigvee=or.big bigwedge=and.big
prime=prime angle=angle triangle=triangle.t square=square checkmark=checkmark colon=colon
quad=quad qquad=wide thinspace=thin enspace=#h(0.5em)""")

SYMBOLS |= {
    ",": "thin",
    ":": "med",
    ">": "med",
    ";": "thick",
    "!": "#h(-0.1667em)",
    " ": "#h(0.2778em)",
    "%": "%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "&": r"\&",
    "{": r"\{",
    "}": r"\}",
    "backslash": r"\\",
    "|": 'class("normal", bar.v.double)',
    "Vert": 'class("normal", bar.v.double)',
    "vert": 'class("normal", bar.v)',
    "mid": 'class("relation", bar.v)',
}

OPERATORS = frozenset(_table("""sin= cos= tan= cot= sec= csc= sinh= cosh= tanh= coth= arcsin= arccos= arctan=
log= ln= lg= exp= det= dim= ker= deg= gcd= hom= arg= max= min= sup= inf= lim= Pr= limsup= liminf="""))

ACCENTS = _table("""hat=hat widehat=hat tilde=tilde widetilde=tilde bar=macron vec=arrow dot=dot
ddot=dot.double check=caron breve=breve acute=acute grave=grave mathring=circle overline=overline
underline=underline overrightarrow=arrow""")

FONTS = {
    "mathbf": "bold(upright({}))",
    "boldsymbol": "bold({})",
    "bm": "bold({})",
    "mathit": "italic({})",
    "mathsf": "sans({})",
    "mathtt": "mono({})",
    "mathcal": "cal({})",
    "mathscr": "scr({})",
    "mathfrak": "frak({})",
    "mathbb": "bb({})",
    "mathrm": "upright({})",
    "mathnormal": "{}",
}

TEXTS = {
    "text": "{}",
    "textrm": "{}",
    "textnormal": "{}",
    "mbox": "{}",
    "textbf": "bold({})",
    "textit": "italic({})",
    "texttt": "mono({})",
    "textsf": "sans({})",
    "emph": "italic({})",
}

DELIMITERS = {
    "(": "paren.l",
    ")": "paren.r",
    "[": "bracket.l",
    "]": "bracket.r",
    r"\{": "brace.l",
    r"\}": "brace.r",
    r"\lbrace": "brace.l",
    r"\rbrace": "brace.r",
    "|": "bar.v",
    r"\vert": "bar.v",
    r"\lvert": "bar.v",
    r"\rvert": "bar.v",
    r"\|": "bar.v.double",
    r"\Vert": "bar.v.double",
    r"\lVert": "bar.v.double",
    r"\rVert": "bar.v.double",
    r"\langle": "chevron.l",
    r"\rangle": "chevron.r",
    "<": "chevron.l",
    ">": "chevron.r",
    r"\lfloor": "floor.l",
    r"\rfloor": "floor.r",
    r"\lceil": "ceil.l",
    r"\rceil": "ceil.r",
    "/": "slash",
    ".": "",
}

SIZES = {"big": "1.2em", "Big": "1.8em", "bigg": "2.4em", "Bigg": "3em"}

CLASSES = {
    "mathrel": "relation",
    "mathbin": "binary",
    "mathord": "normal",
    "mathopen": "opening",
    "mathclose": "closing",
    "mathpunct": "punctuation",
}

# characters that mean something else in Typst's mathematics
CHARACTERS = {
    ",": r"\,",
    ";": r"\;",
    "(": r"\(",
    ")": r"\)",
    "[": r"\[",
    "]": r"\]",
    "/": r"\/",
    "#": r"\#",
    '"': r"\"",
    "$": r"\$",
    "@": r"\@",
    "`": r"\`",
    "&": "&",
    "|": 'class("normal", bar.v)',
    "~": "#h(0.2778em)",
    "*": "ast.op",
    ":": 'class("relation", colon)',
}

MATRICES = {
    "pmatrix": "(",
    "bmatrix": "[",
    "vmatrix": "|",
    "Vmatrix": "||",
    "Bmatrix": "{",
    "matrix": None,
    "smallmatrix": None,
    "array": None,
}

ALIGNED = {"aligned", "align", "split", "alignedat", "gathered", "gather", "equation"}
