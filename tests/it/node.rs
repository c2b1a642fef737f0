//! The node agent against a real Docker Engine, spoken to through its pipes as a panel does. Left out, by name, where no engine is wanted.

mod site;

mod life;
